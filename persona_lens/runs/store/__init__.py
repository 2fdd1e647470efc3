"""What a run keeps on disk: its manifest, tables, journal, lock and labels."""
