/** Small choices of a reader that last, and what their window has room for. */

import { useCallback, useState, useSyncExternalStore } from "react";

export function useStored(name: string, first: boolean): [boolean, (value: boolean) => void] {
  const [value, setValue] = useState(() => {
    try {
      const kept = localStorage.getItem(name);
      return kept === null ? first : kept === "1";
    } catch {
      return first;
    }
  });
  const set = useCallback(
    (next: boolean) => {
      setValue(next);
      try {
        localStorage.setItem(name, next ? "1" : "0");
      } catch {
        // It then lasts as long as the page.
      }
    },
    [name],
  );
  return [value, set];
}

export function useWide(query: string): boolean {
  return useSyncExternalStore(
    (listener) => {
      const media = matchMedia(query);
      media.addEventListener("change", listener);
      return () => media.removeEventListener("change", listener);
    },
    () => matchMedia(query).matches,
  );
}
