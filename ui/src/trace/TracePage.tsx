/** The page of one run: its head, an outline, the timeline, and the environment beside it. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";

import { ApiFailure } from "../api/http";
import { runQuery, seqIn } from "../api/queries";
import type { Kind, RunDetail } from "../api/types";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { Icon } from "../parts/Icon";
import { useShortcuts } from "../parts/keys";
import { LiveDialog } from "./stage/LiveDialog";
import { Filters } from "./Filters";
import { Help } from "./Help";
import { KINDS } from "./kinds";
import { OutlinePanel } from "./OutlinePanel";
import { ReadingContext } from "./reading";
import { TraceSource, useSource } from "./source";
import { Stage, type StageName } from "./stage/Stage";
import { Timeline, type TimelineHandle } from "./Timeline";
import { Toolbar } from "./Toolbar";
import { TraceHead, Verdict } from "./TraceHead";
import { useFound, useHighlight } from "./useFound";
import { useNeighbours } from "./useNeighbours";
import { useStored, useWide } from "./useStored";
import { useScreens } from "./useScreens";
import { useTitle } from "../parts/useTitle";
import "./trace.css";

export function TracePage() {
  const { traceId } = useParams({ from: "/trace/$traceId" });
  const query = useQuery(runQuery(traceId));
  if (query.data) return <Trace key={query.data.id} id={traceId} run={query.data} />;
  if (!query.error) return <div className="trace-waiting" aria-busy="true" />;
  if (query.error instanceof ApiFailure && query.error.status === 404)
    return (
      <Empty icon="unknown" title="There is no such run here" command="hud jobs">
        It may have been recorded under another HUD_HOME, or deleted.
      </Empty>
    );
  return (
    <div className="page">
      <Failure error={query.error} onRetry={() => void query.refetch()} />
    </div>
  );
}

function useTraceSource(id: string, run: RunDetail, first: number | null): TraceSource {
  const [source, setSource] = useState(() => new TraceSource(id));
  const client = useQueryClient();
  useEffect(() => {
    const opened = new TraceSource(id);
    setSource(opened);
    let ended = false;
    let stop = () => undefined as void;
    void opened.open(first).then(() => {
      if (ended || run.end_time !== null) return;
      stop = opened.follow((changed) => client.setQueryData(runQuery(id).queryKey, changed));
    });
    return () => {
      ended = true;
      stop();
      opened.close();
    };
    // A run that ends is followed to its last step: only another run begins anew.
  }, [id]);
  return source;
}

function Trace({ id, run }: { id: string; run: RunDetail }) {
  useTitle(run.task_slug, "trace");
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const [wanted] = useState(() => seqIn(search.step, window.location.hash));
  const source = useTraceSource(id, run, wanted);
  useSource(source);

  const [cursor, setCursor] = useState(-1);
  const timeline = useRef<TimelineHandle>(null);
  const [box, setBox] = useState<HTMLElement | null>(null);
  const [flipped, setFlipped] = useState<ReadonlySet<number>>(new Set());
  const [allClosed, setAllClosed] = useState(false);
  const [raw, setRaw] = useState<ReadonlySet<number>>(new Set());
  const [isHelp, setHelp] = useState(false);
  const [hasOutline, setOutline] = useStored("hud.outline", true);
  const [hasStage, setStage] = useStored("hud.stage", true);
  const [stageName, setStageName] = useState<StageName | null>(null);
  const isWide = useWide("(min-width: 1080px)");
  const isRoomy = useWide("(min-width: 1360px)");

  const kinds = useMemo(() => kindsIn(search.kinds), [search.kinds]);
  const words = search.q ?? "";
  const found = useFound(run.id, words, source.total);
  const foundSet = useMemo(() => (found ? new Set(found.seqs) : null), [found]);
  const places = useShown(source, kinds);
  useHighlight(words, box, source.linesVersion);

  // Once the first lines are here: to the step of the address, else to the beginning.
  const isReady = source.state === "ready";
  const [isOver] = useState(run.end_time !== null);
  useEffect(() => {
    if (!isReady) return;
    const place = wanted !== null ? source.placeOf(wanted) : isOver ? 0 : source.total - 1;
    setCursor(Math.max(0, place));
    if (place > 0) requestAnimationFrame(() => timeline.current?.reveal(place, "start"));
    // Where a run stood when it was opened, not where it went since.
  }, [isReady, source, wanted]);

  // The address follows the reader, a little later.
  useEffect(() => {
    const seq = source.seqAt(cursor);
    if (seq < 0 || (cursor === 0 && !search.step)) return;
    const timer = setTimeout(() => {
      if (search.step !== String(seq)) void navigate({ to: ".", search: { ...search, step: String(seq) }, hash: "", replace: true });
    }, 250);
    return () => clearTimeout(timer);
  }, [cursor, source, search, navigate]);

  const isOpen = useCallback(
    (seq: number, kind: string) => (allClosed ? false : !KINDS[kind as Kind]?.isQuiet) !== flipped.has(seq),
    [allClosed, flipped],
  );
  const onToggle = useCallback((seq: number) => setFlipped((set) => toggled(set, seq)), []);
  const onRaw = useCallback((seq: number) => setRaw((set) => toggled(set, seq)), []);
  // A run that goes on is followed as long as its last step is the one that is looked at.
  const [isFollowing, setFollowing] = useState(!isOver && wanted === null);
  const go = useCallback(
    (place: number, how: "start" | "auto" = "auto") => {
      setCursor(place);
      setFollowing(place >= source.total - 1);
      timeline.current?.reveal(place, how);
    },
    [source],
  );
  const onGo = useCallback((place: number) => go(place), [go]);
  const look = useCallback(
    (place: number) => {
      setCursor(place);
      setFollowing(place >= source.total - 1);
    },
    [source],
  );
  const onGoStart = useCallback((place: number) => go(place, "start"), [go]);
  const onLink = useCallback((seq: number) => go(Math.max(0, source.placeOf(seq))), [go, source]);

  const lastError = useLastOf(source, "error");
  const lastGrade = useLastOf(source, "grade");
  const recorded = useStages(source);
  const live = useLive(run);
  const stages = useMemo(() => (live.isShown ? ["live" as const, ...recorded] : recorded), [live.isShown, recorded]);
  const stage = stageName && stages.includes(stageName) ? stageName : (stages[0] ?? null);
  const isStaged = hasStage && isWide && stage !== null;
  const onShow = useCallback(
    (seq: number) => {
      go(Math.max(0, source.placeOf(seq)));
      setStageName("screen");
      setStage(true);
    },
    [go, source, setStage],
  );

  const onLive = () => {
    if (!live.can) return;
    live.ask();
    if (!isWide) return live.open(true);
    setStageName("live");
    setStage(true);
  };

  const step = (by: 1 | -1, fits: (place: number) => boolean = () => true) => {
    const count = places ? places.length : source.total;
    let row = places ? rowAfter(places, cursor, by) : cursor + by;
    while (row >= 0 && row < count) {
      const place = places ? (places[row] ?? 0) : row;
      if (fits(place)) return go(place);
      row += by;
    }
  };
  const isError = (place: number) => {
    return source.isError(place) || source.kindAt(place) === "error";
  };
  const isTurn = (place: number) => source.kindAt(place) === "turn";
  const match = (by: 1 | -1) => {
    if (!found?.seqs.length) return;
    const here = source.seqAt(cursor);
    const next = by === 1 ? (found.seqs.find((seq) => seq > here) ?? found.seqs[0]) : (found.seqs.findLast((seq) => seq < here) ?? found.seqs.at(-1));
    if (next !== undefined) go(source.placeOf(next), "start");
  };
  const neighbours = useNeighbours(run);
  const toRun = (id: string | undefined) => id && void navigate({ to: "/trace/$traceId", params: { traceId: id }, search: {} });
  const seqHere = source.seqAt(cursor);
  const searchBox = useRef<HTMLInputElement>(null);
  useShortcuts({
    j: () => step(1),
    k: () => step(-1),
    J: () => step(1, isTurn),
    K: () => step(-1, isTurn),
    e: () => step(1, isError),
    g: () => go(places?.[0] ?? 0),
    G: () => go(places ? (places.at(-1) ?? 0) : Math.max(0, source.total - 1), "start"),
    Enter: () => seqHere >= 0 && onToggle(seqHere),
    r: () => seqHere >= 0 && onRaw(seqHere),
    x: () => {
      setAllClosed(!allClosed);
      setFlipped(new Set());
    },
    y: () => void navigator.clipboard?.writeText(window.location.href),
    o: () => setOutline(!hasOutline),
    s: () => setStage(!hasStage),
    l: onLive,
    n: () => match(1),
    N: () => match(-1),
    "/": () => searchBox.current?.focus(),
    "?": () => setHelp(true),
    "[": () => toRun(neighbours.before),
    "]": () => toRun(neighbours.after),
    " ": () => timeline.current?.page(1),
    ...Object.fromEntries((["screen", "terminal", "files", "robot"] as const).map((name, index) => [String(index + 1), () => stages.includes(name) && setStageName(name)])),
  });

  const reading = useMemo(() => ({ beganMs: beganOf(run), hasStage: isStaged && stages.includes("screen"), onShow }), [run, isStaged, stages, onShow]);
  const showsOutline = hasOutline && (isRoomy || (isWide && !isStaged));
  return (
    <ReadingContext value={reading}>
      <div className="trace">
        <TraceHead run={run} isLive={source.isLive} onGrade={lastGrade === null ? null : () => go(lastGrade, "start")}>
          <Toolbar live={live.can ? "Its screen, live (l)" : null} isLive={isStaged && stage === "live"} onLive={onLive} run={run} neighbours={neighbours} onRun={toRun} hasOutline={showsOutline} onOutline={() => setOutline(!hasOutline)} hasStage={isStaged} canStage={stage !== null && isWide} onStage={() => setStage(!hasStage)} onHelp={() => setHelp(true)} />
        </TraceHead>
        <Verdict run={run} onError={lastError === null ? null : () => go(lastError, "start")} />
        {live.can && !isWide ? (
          <button type="button" className="button live-open" onClick={onLive}>
            <Icon name="eye" /> Its screen, live
          </button>
        ) : null}
        <div className={`trace-body${showsOutline ? " outlined" : ""}${isStaged ? " staged" : ""}`}>
          {showsOutline ? <OutlinePanel source={source} places={places} cursor={cursor} found={foundSet} onGo={onGoStart} /> : null}
          <section className="trace-middle" ref={setBox} aria-label="Timeline">
            <Filters
              source={source}
              kinds={kinds}
              onKinds={(next) => void navigate({ to: ".", search: { ...search, kinds: next.size ? [...next].join(",") : undefined }, replace: true })}
              words={words}
              onWords={(next) => void navigate({ to: ".", search: { ...search, q: next || undefined }, replace: true })}
              found={found}
              cursorSeq={seqHere < 0 ? null : seqHere}
              onMatch={match}
              box={searchBox}
            />
            {source.state === "failed" ? (
              <div className="page">
                <Failure error={source.error} />
              </div>
            ) : source.state === "ready" && source.total === 0 ? (
              <Empty icon="clock" title={run.end_time === null ? "Nothing has happened yet" : "This run recorded no step"}>
                {run.end_time === null ? "Steps appear here as they are recorded." : "It ended before it began: what is said above is all there is."}
              </Empty>
            ) : (
              <Timeline source={source} places={places} cursor={cursor} isOpen={isOpen} flipped={flipped} raw={raw} onCursor={look} onToggle={onToggle} onRaw={onRaw} onLink={onLink} handle={timeline} follows={isFollowing && !isOver} />
            )}
          </section>
          {isStaged && stage ? <Stage runId={run.id} screens={live.screens} source={source} cursor={cursor} stages={stages} current={stage} onStage={setStageName} onGo={onGo} onClose={() => setStage(false)} /> : null}
        </div>
        {live.isOpen ? <LiveDialog runId={run.id} screens={live.screens} onClose={() => live.open(false)} /> : null}
        {isHelp ? <Help onClose={() => setHelp(false)} /> : null}
      </div>
    </ReadingContext>
  );
}


function toggled(set: ReadonlySet<number>, seq: number): ReadonlySet<number> {
  const next = new Set(set);
  if (!next.delete(seq)) next.add(seq);
  return next;
}

function kindsIn(text: string | undefined): ReadonlySet<Kind> {
  return new Set((text ?? "").split(",").filter((kind): kind is Kind => kind in KINDS));
}

function beganOf(run: RunDetail): number | null {
  const began = Date.parse(run.start_time);
  return Number.isNaN(began) ? null : began;
}

/** The row after or before a place that may be none of the rows. */
function rowAfter(places: number[], place: number, by: 1 | -1): number {
  if (by === 1) {
    const next = places.findIndex((one) => one > place);
    return next < 0 ? places.length : next;
  }
  return places.findLastIndex((one) => one < place);
}

function useLastOf(source: TraceSource, kind: Kind): number | null {
  const version = source.linesVersion;
  return useMemo(() => {
    for (let place = source.total - 1; place >= 0; place -= 1) {
      if (source.kindAt(place) === kind) return place;
    }
    return null;
  }, [source, kind, version]);
}

function useShown(source: TraceSource, kinds: ReadonlySet<Kind>): number[] | null {
  const version = source.linesVersion;
  return useMemo(() => {
    if (!kinds.size) return null;
    const found: number[] = [];
    for (let place = 0; place < source.total; place += 1) {
      const kind = source.kindAt(place);
      if (kind && kinds.has(kind)) found.push(place);
    }
    return found;
  }, [source, version, kinds]);
}

/** What a run that goes on shows live. Once it was looked at it stays, and says that the run is over. */
function useLive(run: RunDetail) {
  const now = useScreens(run);
  const [screens, setScreens] = useState(now);
  const [wasAsked, setAsked] = useState(false);
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    // The screens stay what they were when the run ends: they say themselves that they are gone.
    if (now) setScreens(now);
  }, [now]);
  const isLive = screens?.state === "live";
  const ask = () => setAsked(true);
  return { screens, isShown: isLive || wasAsked, can: now !== null || isLive || wasAsked, ask, isOpen, open: setOpen };
}

function useStages(source: TraceSource): StageName[] {
  const version = source.linesVersion;
  const key = useMemo(() => {
    const found = new Set<StageName>();
    for (let place = 0; place < source.total && found.size < 4; place += 1) {
      const kind = source.kindAt(place);
      if (source.hasPicture(place)) found.add("screen");
      if (kind === "shell") found.add("terminal");
      if (kind === "files") found.add("files");
      if (kind === "robot") found.add("robot");
    }
    return (["screen", "robot", "terminal", "files"] as const).filter((name) => found.has(name)).join();
  }, [source, version]);
  return useMemo(() => (key ? (key.split(",") as StageName[]) : []), [key]);
}
