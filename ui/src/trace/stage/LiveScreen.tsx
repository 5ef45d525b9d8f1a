/** A screen of a run as it is now. It can be looked at; nothing that is done here reaches it. */

import { useEffect, useRef, useState } from "react";

import type { ScreenItem } from "../useScreens";
import { Line } from "../Text";
import { type Watched, watch } from "./watch";

interface LiveScreenProps {
  runId: string;
  screen: ScreenItem;
  onState: (watched: Watched) => void;
}

export function LiveScreen({ runId, screen, onState }: LiveScreenProps) {
  return screen.kind === "desktop" ? <LiveDesktop runId={runId} screen={screen} onState={onState} /> : <LiveBrowser runId={runId} screen={screen} onState={onState} />;
}

function LiveDesktop({ runId, screen, onState }: LiveScreenProps) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let stop = () => undefined as void;
    let isGone = false;
    void import("@novnc/novnc").then(({ default: RFB }) => {
      if (isGone || !box.current) return;
      const target = box.current;
      stop = watch({
        runId,
        name: screen.name,
        onState,
        onSocket: (socket) => {
          const shown = new RFB(target, socket, { shared: true });
          shown.viewOnly = true;
          shown.focusOnClick = false;
          shown.scaleViewport = true;
          shown.background = "transparent";
          shown.addEventListener("connect", () => onState({ state: "live" }));
          return () => target.replaceChildren();
        },
      });
    });
    return () => {
      isGone = true;
      stop();
    };
  }, [runId, screen.name, onState]);
  return <div className="live-picture live-desktop" ref={box} role="img" aria-label={`The desktop ${screen.name} as it is now`} />;
}

interface Place {
  url: string;
  title: string;
}

function LiveBrowser({ runId, screen, onState }: LiveScreenProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [place, setPlace] = useState<Place | null>(null);
  useEffect(
    () =>
      watch({
        runId,
        name: screen.name,
        onState,
        onSocket: (socket) => {
          socket.binaryType = "blob";
          let drawing = Promise.resolve();
          socket.addEventListener("message", ({ data }: MessageEvent<unknown>) => {
            if (data instanceof Blob) drawing = drawing.then(() => draw(data, canvas.current)).then(() => onState({ state: "live" }), ignored);
            else setPlace(placeOf(data));
          });
          return () => undefined;
        },
      }),
    [runId, screen.name, onState],
  );
  return (
    <>
      {place ? (
        <p className="live-place" title={place.title}>
          <Line>{place.url}</Line>
        </p>
      ) : null}
      <canvas className="live-picture live-browser" ref={canvas} width={0} height={0} role="img" aria-label={`The browser ${screen.name} as it is now`} />
    </>
  );
}

function ignored(): void {
  // A picture that no browser can read: the next one may be.
}

async function draw(data: Blob, canvas: HTMLCanvasElement | null): Promise<void> {
  const picture = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
  try {
    if (!canvas) return;
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
    }
    canvas.getContext("2d")?.drawImage(picture, 0, 0);
  } finally {
    picture.close();
  }
}

function placeOf(data: unknown): Place | null {
  if (typeof data !== "string") return null;
  try {
    const { url, title } = JSON.parse(data) as Record<string, unknown>;
    return typeof url === "string" && typeof title === "string" ? { url, title } : null;
  } catch {
    return null;
  }
}
