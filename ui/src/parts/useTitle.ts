/** What the tab is called. */

import { useEffect } from "react";

export function useTitle(...parts: (string | null | undefined)[]): void {
  const title = [...parts.filter(Boolean).map((part) => String(part).slice(0, 120)), "hud"].join(" · ");
  useEffect(() => {
    document.title = title;
  }, [title]);
}
