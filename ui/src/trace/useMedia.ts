/** Addresses of sounds and films: small ones that stand in a step itself become files of this page first. */

import { useEffect, useState } from "react";

/** The address to play from, `null` until it is there. */
export function useMedia(url: string | null): string | null {
  const [made, setMade] = useState<string | null>(null);
  const isInline = url?.startsWith("data:") === true;
  useEffect(() => {
    if (!isInline || url === null) return;
    const file = fileOf(url);
    if (!file) return;
    const address = URL.createObjectURL(file);
    setMade(address);
    return () => {
      URL.revokeObjectURL(address);
      setMade(null);
    };
  }, [url, isInline]);
  return isInline ? made : url;
}

export function fileOf(url: string): Blob | null {
  const comma = url.indexOf(",");
  const type = url.slice(5, url.indexOf(";"));
  try {
    const text = atob(url.slice(comma + 1).replace(/\s/g, ""));
    return new Blob([Uint8Array.from(text, (char) => char.charCodeAt(0))], { type });
  } catch {
    return null;
  }
}
