/**
 * A still picture, drawn no larger than it is shown.
 *
 * A browser keeps what it decoded for an `img` at the picture's full size, megabytes each, for as long as
 * it likes; of the thousands of screens in a run that is all the memory there is. Here a picture is decoded
 * beside the page, drawn into as few pixels as are seen, and let go of.
 */

import { useEffect, useLayoutEffect, useRef, useState } from "react";

import { request } from "../api/http";
import { fileOf } from "./useMedia";

export interface Size {
  width: number;
  height: number;
}

interface DrawnProps {
  url: string;
  /** What it shows; empty where something beside it says so. */
  label: string;
  /** How wide it is shown at most, in pixels of the page. */
  widest: number;
  className?: string;
  /** It is drawn; told with its own size. */
  onDrawn?: (size: Size) => void;
  onBroken?: () => void;
}

const AT_ONCE = 3;
const DENSEST = 2;

/** Keeps the picture before until the next one can be drawn: nothing flashes. */
export function Drawn({ url, label, widest, className, onDrawn, onBroken }: DrawnProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [isDrawn, setDrawn] = useState(false);
  const told = useRef({ onDrawn, onBroken });
  useLayoutEffect(() => {
    told.current = { onDrawn, onBroken };
  });
  useEffect(() => {
    const ending = new AbortController();
    void inTurn(ending.signal, async () => {
      const file = await pictureFile(url, ending.signal);
      const picture = await createImageBitmap(file);
      const size = { width: picture.width, height: picture.height };
      if (!ending.signal.aborted && canvas.current) {
        draw(canvas.current, picture, widest * Math.min(DENSEST, window.devicePixelRatio || 1));
        setDrawn(true);
        told.current.onDrawn?.(size);
      }
      picture.close();
    }).catch(() => {
      if (!ending.signal.aborted) told.current.onBroken?.();
    });
    return () => ending.abort();
  }, [url, widest]);
  // Its pixels go with it, not when the collector comes by.
  useEffect(() => {
    const element = canvas.current;
    return () => {
      if (element) element.width = element.height = 0;
    };
  }, []);
  return <canvas ref={canvas} className={className} {...(label ? { role: "img", "aria-label": label } : { "aria-hidden": true })} hidden={!isDrawn} width={0} height={0} />;
}

function draw(canvas: HTMLCanvasElement, picture: ImageBitmap, widest: number): void {
  const scale = Math.min(1, widest / picture.width);
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.imageSmoothingQuality = "medium";
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
}

async function pictureFile(url: string, signal: AbortSignal): Promise<Blob> {
  if (!url.startsWith("data:")) return await (await request(url, { signal })).blob();
  const file = fileOf(url);
  if (!file) throw new Error("the picture is not base64");
  return file;
}

let going = 0;
const waiting: (() => void)[] = [];

/** A few at a time, those asked for last first: that is where the reader looks. */
async function inTurn(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  if (going >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  else going += 1;
  try {
    if (!signal.aborted) await work();
  } finally {
    const next = waiting.pop();
    if (next) next();
    else going -= 1;
  }
}
