/** Values that were moved out of a step: texts and media that stand behind `/v2/blobs/{sha256}`. */

import { request } from "../api/http";
import { blobAddress } from "../bundle/place";
import { number, type Table, table, text } from "./loose";

export interface BlobRef {
  sha256: string;
  sizeBytes: number;
  mediaType: string;
}

/** A text, in place or behind a reference. */
export type Words = string | BlobRef;

/** A picture, a film or a sound the browser can show; `null` url: it cannot be shown, and why. */
export type Media =
  | { url: string; mediaType: string; sha256: string | null }
  | { url: null; mediaType: string; why: string };

const SHA = /^[0-9a-f]{64}$/;
const SHOWN = /^(?:image\/(?:png|jpeg|gif|webp|avif|bmp)|video\/(?:mp4|webm|ogg)|audio\/(?:mpeg|mp4|ogg|wav|webm|flac|aac))$/;
const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

export function blobRef(value: unknown): BlobRef | null {
  const held = table(value);
  const sha256 = text(held.$blob);
  if (sha256 === null || !SHA.test(sha256)) return null;
  return {
    sha256,
    sizeBytes: number(held.size_bytes) ?? 0,
    mediaType: text(held.media_type) ?? "application/octet-stream",
  };
}

/** Where a blob is to be had; of a film or a sound, say what it is. */
export function blobUrl(sha256: string, mediaType = ""): string {
  return blobAddress(sha256, mediaType);
}

export function words(value: unknown): Words | null {
  if (typeof value === "string") return value || null;
  const ref = blobRef(value);
  return ref && !ref.mediaType.startsWith("image/") ? ref : null;
}

/** What a block with `data` and a media type shows. */
export function media(block: Table): Media {
  const named = text(block.mimeType) ?? text(block.media_type) ?? text(block.mime_type);
  const ref = blobRef(block.data);
  const mediaType = (ref?.mediaType ?? named ?? "").toLowerCase();
  if (!SHOWN.test(mediaType)) return { url: null, mediaType, why: mediaType ? `${mediaType} is not shown here` : "it does not say what it is" };
  if (ref) return { url: blobUrl(ref.sha256, mediaType), mediaType, sha256: ref.sha256 };
  const data = text(block.data);
  if (data === null) return { url: null, mediaType, why: "it holds no data" };
  if (!BASE64.test(data)) return { url: null, mediaType, why: "its data is not base64" };
  return { url: `data:${mediaType};base64,${data}`, mediaType, sha256: null };
}

/** Fetch a text that was moved out. */
export async function fetchText(ref: BlobRef, signal?: AbortSignal): Promise<string> {
  const response = await request(blobUrl(ref.sha256), signal ? { signal } : {});
  return await response.text();
}

/** A payload whose keys that looked like references were escaped, with those keys as they were. */
export function unescaped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unescaped);
  if (typeof value !== "object" || value === null) return value;
  if (blobRef(value)) return value;
  const entries = Object.entries(value);
  return Object.fromEntries(entries.map(([key, held]) => [/^\$+blob$/.test(key) ? key.slice(1) : key, unescaped(held)]));
}
