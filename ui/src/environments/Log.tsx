/** Lines of a log, any number of them, in their colours; the end stays in sight while it grows. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useRef, useState } from "react";

import { spans } from "../trace/ansi";
import { classOf, colourOf } from "../trace/cards/ShellBody";
import { Line } from "../trace/Text";
import "../trace/cards/shell.css";

const LINE_HEIGHT = 19;
const MOST_CHARS = 4_000;
const NEAR_END_PX = 40;

export function Log({ lines, label, isLive }: { lines: readonly string[]; label: string; isLive: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  const [follows, setFollows] = useState(isLive);
  const list = useVirtualizer({ count: lines.length, getScrollElement: () => box.current, estimateSize: () => LINE_HEIGHT, overscan: 20 });
  useEffect(() => setFollows(isLive), [isLive]);
  useEffect(() => {
    if (!follows || !lines.length) return;
    const frame = requestAnimationFrame(() => list.scrollToIndex(lines.length - 1, { align: "end" }));
    return () => cancelAnimationFrame(frame);
  }, [follows, lines.length, list]);
  const digits = String(lines.length).length;
  return (
    <div
      ref={box}
      className="shell build-log"
      role="log"
      aria-label={label}
      aria-live="off"
      tabIndex={0}
      onScroll={(event) => {
        const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
        if (isLive) setFollows(scrollHeight - scrollTop - clientHeight < NEAR_END_PX);
      }}
    >
      <div className="build-lines" style={{ height: list.getTotalSize() }}>
        {list.getVirtualItems().map((item) => (
          <div key={item.key} ref={list.measureElement} data-index={item.index} className="build-line" style={{ transform: `translateY(${item.start}px)` }}>
            <span className="build-line-no" style={{ width: `${digits + 1}ch` }}>
              {item.index + 1}
            </span>
            <span className="build-line-text">
              <Coloured text={lines[item.index] ?? ""} />
            </span>
          </div>
        ))}
      </div>
    </div>
  );
}

const Coloured = memo(function Coloured({ text }: { text: string }) {
  const shown = text.length > MOST_CHARS ? `${text.slice(0, MOST_CHARS)}…` : text;
  return spans(shown).map((span, index) => (
    <span key={index} className={span.style ? classOf(span.style) : ""} style={span.style ? colourOf(span.style) : {}}>
      <Line>{span.text}</Line>
    </span>
  ));
});
