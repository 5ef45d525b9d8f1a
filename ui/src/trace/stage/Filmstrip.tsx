/** Every picture of a run, small, in a row that is scrolled sideways; only those on the screen are loaded. */

import { memo, useEffect } from "react";

import { blobUrl } from "../blobs";
import { Drawn } from "../Drawn";
import type { TraceSource } from "../source";
import { useEven } from "../useEven";

const WIDTH = 104;
const BEYOND = 4;
const AROUND_PX = 60;
/** How wide a still is drawn; it is cut to a shape, so more than is seen of it. */
const DRAWN_PX = 116;

interface FilmstripProps {
  source: TraceSource;
  places: number[];
  index: number;
  onGo: (place: number) => void;
}

export function Filmstrip({ source, places, index, onGo }: FilmstripProps) {
  const { box, first, last, total, offsetOf, show } = useEven({ count: places.length, size: WIDTH, isAcross: true, beyond: BEYOND, padding: 8 });
  useEffect(() => show(index, AROUND_PX), [index, show]);
  useEffect(() => {
    for (let at = first; at <= last; at += 1) source.wantLines(places[at] ?? -1, places[at] ?? -1);
  });
  return (
    <div className="filmstrip" ref={box}>
      <div style={{ width: total }}>
        {Array.from({ length: Math.max(0, last - first + 1) }, (_, from) => {
          const at = first + from;
          const place = places[at] ?? 0;
          const line = source.line(place);
          return (
            <div key={at} className="frame-of" style={{ transform: `translateX(${offsetOf(at)}px)` }}>
              <Still image={line?.image ?? null} seq={source.seqAt(place)} isHere={at === index} place={place} onGo={onGo} isError={source.isError(place)} />
            </div>
          );
        })}
      </div>
    </div>
  );
}

interface StillProps {
  image: string | null;
  seq: number;
  place: number;
  isHere: boolean;
  isError: boolean;
  onGo: (place: number) => void;
}

const Still = memo(function Still({ image, seq, place, isHere, isError, onGo }: StillProps) {
  return (
    <button type="button" className={`still${isError ? " failed" : ""}`} aria-current={isHere || undefined} onClick={() => onGo(place)} aria-label={`Screen of step ${seq}`} tabIndex={isHere ? 0 : -1}>
      {image ? <Drawn url={blobUrl(image)} label="" widest={DRAWN_PX} /> : null}
      <span className="number">#{seq}</span>
    </button>
  );
});
