/** What one camera filmed, at one tick. Pieces are films of their own, or parts of one that need its beginning. */

import { useEffect, useMemo, useRef, useState } from "react";

import { request } from "../../api/http";
import { Line } from "../Text";
import { fileOf, useMedia } from "../useMedia";
import type { Camera } from "./episode";

const MOST_BYTES = 256 * 1024 * 1024;

export function Film({ camera, tick, plays }: { camera: Camera; tick: number; plays: boolean }) {
  const whole = useWhole(camera);
  const segment = useMemo(() => {
    const found = camera.segments.findLastIndex((one) => one.firstTick <= tick);
    return camera.segments[Math.max(0, found)];
  }, [camera, tick]);
  const first = camera.segments[0];
  const piece = useMedia(segment?.media.url ?? null);
  const url = whole ?? piece;
  const start = whole ? (first?.firstTick ?? 0) : (segment?.firstTick ?? 0);
  const time = Math.max(0, tick - start + 0.5) / camera.fps;
  const video = useRef<HTMLVideoElement>(null);
  const [isBroken, setBroken] = useState(false);
  useEffect(() => setBroken(false), [url]);
  useEffect(() => {
    const element = video.current;
    if (element && Math.abs(element.currentTime - time) > 0.4 / camera.fps) element.currentTime = time;
  }, [time, url, camera.fps, plays]);
  return (
    <figure>
      {(url === null && !segment?.media.url) || isBroken ? (
        <div className="film-none">This film cannot be shown.</div>
      ) : (
        <video
          ref={video}
          src={url ?? undefined}
          muted
          playsInline
          preload="auto"
          onLoadedMetadata={(event) => {
            event.currentTarget.currentTime = time;
          }}
          onError={() => setBroken(true)}
          aria-label={`Camera ${camera.name} at tick ${tick}`}
        />
      )}
      <figcaption className="label">
        <Line>{camera.name || "camera"}</Line>
      </figcaption>
    </figure>
  );
}

/** The address of all pieces put together, where only together they are a film; `null` otherwise. */
function useWhole(camera: Camera): string | null {
  const [url, setUrl] = useState<string | null>(null);
  const key = camera.segments.map((one) => one.media.url).join();
  useEffect(() => {
    const second = camera.segments[1]?.media.url;
    if (!second) return;
    const ending = new AbortController();
    let made: string | null = null;
    void (async () => {
      if (boxOf(await bytesOf(second, ending.signal)) === "ftyp") return;
      const pieces: ArrayBuffer[] = [];
      let size = 0;
      for (const one of camera.segments) {
        if (!one.media.url) continue;
        const bytes = await bytesOf(one.media.url, ending.signal);
        size += bytes.byteLength;
        if (size > MOST_BYTES) break;
        pieces.push(bytes);
      }
      made = URL.createObjectURL(new Blob(pieces, { type: "video/mp4" }));
      if (ending.signal.aborted) URL.revokeObjectURL(made);
      else setUrl(made);
    })().catch(() => undefined);
    return () => {
      ending.abort();
      if (made) URL.revokeObjectURL(made);
      setUrl(null);
    };
  }, [key]);
  return url;
}

async function bytesOf(url: string, signal: AbortSignal): Promise<ArrayBuffer> {
  if (url.startsWith("data:")) return (await fileOf(url)?.arrayBuffer()) ?? new ArrayBuffer(0);
  return await (await request(url, { signal })).arrayBuffer();
}

/** The kind of the first box of an MP4. */
export function boxOf(bytes: ArrayBuffer): string {
  return String.fromCharCode(...new Uint8Array(bytes.slice(4, 8)));
}
