/** The steps of a run that say what is searched for; asked of the platform, which has all of them. */

import { useEffect, useState } from "react";

import { get } from "../api/http";

const AT_MOST = 20_000;
const TYPING_MS = 180;

export interface Found {
  words: string;
  seqs: number[];
  isSearching: boolean;
}

export function useFound(runId: string, words: string, total: number): Found | null {
  const [found, setFound] = useState<Found | null>(null);
  useEffect(() => {
    if (!words) {
      setFound(null);
      return;
    }
    const ending = new AbortController();
    const timer = setTimeout(async () => {
      const seqs: number[] = [];
      let after = 0;
      try {
        for (;;) {
          const page = await get("/v2/trace/{trace_id}/search", { path: { trace_id: runId }, query: { q: words.slice(0, 200), after }, signal: ending.signal });
          seqs.push(...page.items);
          const isMore = page.next_after !== null && seqs.length < AT_MOST;
          setFound({ words, seqs: [...seqs], isSearching: isMore });
          if (!isMore) return;
          after = page.next_after ?? 0;
        }
      } catch {
        if (!ending.signal.aborted) setFound({ words, seqs, isSearching: false });
      }
    }, TYPING_MS);
    setFound((before) => (before ? { ...before, isSearching: true } : { words, seqs: [], isSearching: true }));
    return () => {
      ending.abort();
      clearTimeout(timer);
    };
  }, [runId, words, total]);
  return found;
}

/** Marks the words where they stand on the screen. */
export function useHighlight(words: string, box: HTMLElement | null, version: unknown): void {
  useEffect(() => {
    if (!("highlights" in CSS)) return;
    CSS.highlights.delete("found");
    if (!words || !box) return;
    const wanted = words.toLowerCase();
    const mark = () => {
      const ranges: Range[] = [];
      const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node && ranges.length < 500; node = walker.nextNode()) {
        const text = (node.nodeValue ?? "").toLowerCase();
        for (let at = text.indexOf(wanted); at >= 0 && ranges.length < 500; at = text.indexOf(wanted, at + wanted.length)) {
          const range = new Range();
          range.setStart(node, at);
          range.setEnd(node, at + wanted.length);
          ranges.push(range);
        }
      }
      CSS.highlights.set("found", new Highlight(...ranges));
    };
    mark();
    let timer: ReturnType<typeof setTimeout> | null = null;
    const watcher = new MutationObserver(() => {
      timer ??= setTimeout(() => {
        timer = null;
        mark();
      }, 100);
    });
    watcher.observe(box, { childList: true, subtree: true, characterData: true });
    return () => {
      watcher.disconnect();
      if (timer) clearTimeout(timer);
      CSS.highlights.delete("found");
    };
  }, [words, box, version]);
}
