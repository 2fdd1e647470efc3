"""What any page needs: numbers and names inside it, its script out of modules, common functions and style."""
