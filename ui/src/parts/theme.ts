/** Light, dark, or as the system says: kept in this browser. */

import { useSyncExternalStore } from "react";

export type Theme = "auto" | "light" | "dark";

const KEY = "hud.theme";
const listeners = new Set<() => void>();

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "auto";
  } catch {
    return "auto";
  }
}

let current: Theme = stored();

export function applyTheme(): void {
  const root = document.documentElement;
  if (current === "auto") delete root.dataset.theme;
  else root.dataset.theme = current;
}

export function setTheme(theme: Theme): void {
  current = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Private windows may keep nothing; the choice then lasts as long as the page.
  }
  applyTheme();
  for (const listener of listeners) listener();
}

export function useTheme(): Theme {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}

/** Whether the page is dark right now, whoever decided it; for what CSS cannot reach. */
export function isDark(): boolean {
  return current === "dark" || (current === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
}
