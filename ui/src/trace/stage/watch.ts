/** Looking at a screen of a run: a connection that is taken up again when it is lost, and why it ended. */

import { get } from "../../api/http";

export type Watched =
  | { state: "connecting" }
  | { state: "live" }
  | { state: "lost"; says: string }
  | { state: "ended"; says: string };

interface Watching {
  runId: string;
  name: string;
  /** Given each new connection before anything came through it; what it returns is called at its end. */
  onSocket: (socket: WebSocket) => () => void;
  onState: (watched: Watched) => void;
}

const ENDED = 4410;
/** Coming back does not help: the viewer may not look, or is no viewer. */
const REFUSED = 1008;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/** Watch until the returned function is called, or the run lets its environment go. */
export function watch({ runId, name, onSocket, onState }: Watching): () => void {
  let socket: WebSocket | null = null;
  let timer: ReturnType<typeof setTimeout> | null = null;
  let isOver = false;
  let wait = FIRST_WAIT_MS;

  const connect = () => {
    onState({ state: "connecting" });
    const opened = (socket = new WebSocket(screenAddress(runId, name)));
    const end = onSocket(opened);
    opened.addEventListener("message", () => {
      wait = FIRST_WAIT_MS;
    });
    opened.addEventListener("close", (event) => {
      end();
      if (isOver) return;
      const watched = meaning(event.code, event.reason);
      onState(watched);
      if (watched.state === "ended") return;
      timer = setTimeout(() => void again(), wait);
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    });
  };
  const again = async () => {
    const says = await whyNot(runId);
    if (isOver) return;
    if (says === null) connect();
    else onState({ state: "ended", says });
  };

  connect();
  return () => {
    isOver = true;
    if (timer) clearTimeout(timer);
    socket?.close();
  };
}

/** Return why there is nothing to come back to, null where there may be. */
async function whyNot(runId: string): Promise<string | null> {
  try {
    const { state, says } = await get("/v2/traces/{trace_id}/screen", { path: { trace_id: runId } });
    return state === "live" || state === "waiting" ? null : says;
  } catch {
    return null;
  }
}

export function meaning(code: number, reason: string): Watched {
  if (code === ENDED) return { state: "ended", says: "This run let its environment go. What its screen showed is on its steps." };
  if (code === REFUSED) return { state: "ended", says: `This page may not look any more${reason ? `: ${reason}` : ""}. Load it again.` };
  return { state: "lost", says: reason ? `The screen is not to be seen just now: ${reason}.` : "The connection to the screen is lost." };
}

export function screenAddress(runId: string, name: string): string {
  const scheme = window.location.protocol === "https:" ? "wss" : "ws";
  return `${scheme}://${window.location.host}/v2/traces/${encodeURIComponent(runId)}/screen?${new URLSearchParams({ name })}`;
}
