/** Whether these pages stand alone, as files of one job, and how addresses are spelled there. */

const told = typeof document === "undefined" ? null : document.querySelector('meta[name="hud-bundle"]');

/** The job of a bundle; `null` where a platform answers. */
export const bundledJob: string | null = told?.getAttribute("content") || null;

const PLAYED: Record<string, string> = {
  "video/mp4": "mp4",
  "video/webm": "webm",
  "video/ogg": "ogv",
  "audio/mpeg": "mp3",
  "audio/mp4": "m4a",
  "audio/ogg": "oga",
  "audio/wav": "wav",
  "audio/webm": "weba",
  "audio/flac": "flac",
  "audio/aac": "aac",
};

export function blobAddress(sha256: string, mediaType: string): string {
  if (bundledJob === null) return `/v2/blobs/${sha256}`;
  return `data/blobs/${sha256.slice(0, 2)}/${sha256}.${PLAYED[mediaType] ?? "bin"}`;
}

/** The address of a step of the run that is shown; a static host knows one page only. */
export function stepAddress(seq: number): string {
  if (bundledJob === null) return `?step=${seq}`;
  return `${window.location.hash.split("?", 1)[0]}?step=${seq}`;
}
