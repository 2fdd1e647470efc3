// Colours of plots in the light and in the dark; those of the page itself are in its style sheet.

import { style } from "./data.js";

export const darkness = window.matchMedia("(prefers-color-scheme: dark)");
const LIGHT = { ...style, paper: "#ffffff" };
const DARK = { ink: "#e6e9ee", quiet: "#a9b3be", faint: "#6a7480", grid: "#262c34", zero: "#3d4651", paper: "#14181d",
  trait: "#b79be8", role: "#d9a05b", both: "#4fc3d4", axis: "#58a9e8", null: "#9aa3ad" };

export function followLook() {
  Object.assign(style, LIGHT, darkness.matches ? DARK : {});
}

// Colours of groups that are too dark on black are lightened by half.
export function seen(colour) {
  if (!darkness.matches) return colour;
  const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return `#${parts.map((part) => Math.round(part + (255 - part) * 0.35).toString(16).padStart(2, "0")).join("")}`;
}

followLook();
