/** Every picture of a run, small, in a row that is scrolled sideways; only those on the screen are loaded. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useRef } from "react";

import { blobUrl } from "../blobs";
import type { TraceSource } from "../source";

const WIDTH = 104;

interface FilmstripProps {
  source: TraceSource;
  places: number[];
  index: number;
  onGo: (place: number) => void;
}

export function Filmstrip({ source, places, index, onGo }: FilmstripProps) {
  const box = useRef<HTMLDivElement>(null);
  const list = useVirtualizer({ horizontal: true, count: places.length, getScrollElement: () => box.current, estimateSize: () => WIDTH, overscan: 4, paddingStart: 8, paddingEnd: 8, scrollPaddingStart: 60, scrollPaddingEnd: 60 });
  useEffect(() => {
    list.scrollToIndex(index, { align: "auto" });
  }, [index, list]);
  const items = list.getVirtualItems();
  useEffect(() => {
    for (const item of items) source.wantLines(places[item.index] ?? -1, places[item.index] ?? -1);
  });
  return (
    <div className="filmstrip" ref={box}>
      <div style={{ width: list.getTotalSize() }}>
        {items.map((item) => {
          const place = places[item.index] ?? 0;
          const line = source.line(place);
          return (
            <div key={item.key} className="frame-of" style={{ transform: `translateX(${item.start}px)` }}>
              <Still image={line?.image ?? null} seq={source.seqAt(place)} isHere={item.index === index} place={place} onGo={onGo} isError={source.isError(place)} />
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
      {image ? <img src={blobUrl(image)} alt="" decoding="async" /> : null}
      <span className="number">#{seq}</span>
    </button>
  );
});
