/** The log of a build as it is written: every line from the first, and how it ended. */

export interface BuildNews {
  /** Lines that were not known before; `isAnew` where all before them are told once more. */
  onLines: (lines: string[], isAnew: boolean) => void;
  onChange: () => void;
  onLost: () => void;
}

interface Frame {
  type: string;
  message?: unknown;
  error?: unknown;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
/** What comes in a burst is shown at once. */
const TOGETHER_MS = 60;
const DENIED = 4003;

/** Follow until the returned function is called, or the build is over; a lost connection is taken up again. */
export function followBuild(buildId: string, news: BuildNews): () => void {
  let socket: WebSocket | null = null;
  let timer: ReturnType<typeof setTimeout> | null = null;
  let isOver = false;
  let wait = FIRST_WAIT_MS;

  const connect = () => {
    let held: string[] = [];
    let isAnew = true;
    let flushing: ReturnType<typeof setTimeout> | null = null;
    const flush = () => {
      flushing = null;
      if (!held.length) return;
      news.onLines(held, isAnew);
      held = [];
      isAnew = false;
    };
    socket = new WebSocket(`${window.location.protocol === "https:" ? "wss" : "ws"}://${window.location.host}/v2/builds/${encodeURIComponent(buildId)}/logs`);
    socket.onmessage = (event) => {
      wait = FIRST_WAIT_MS;
      const frame = frameOf(event.data);
      if (frame?.type === "log" && typeof frame.message === "string") {
        held.push(frame.message);
        flushing ??= setTimeout(flush, TOGETHER_MS);
      } else if (frame) {
        isOver ||= frame.type === "complete" || frame.type === "error";
        news.onChange();
      }
    };
    socket.onclose = (event) => {
      if (flushing) clearTimeout(flushing);
      flush();
      if (isOver || event.code === DENIED) return;
      news.onLost();
      timer = setTimeout(connect, wait);
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    };
  };

  connect();
  return () => {
    isOver = true;
    if (timer) clearTimeout(timer);
    socket?.close();
  };
}

function frameOf(data: unknown): Frame | null {
  if (typeof data !== "string") return null;
  try {
    const held: unknown = JSON.parse(data);
    return typeof held === "object" && held !== null && typeof (held as Frame).type === "string" ? (held as Frame) : null;
  } catch {
    return null;
  }
}
