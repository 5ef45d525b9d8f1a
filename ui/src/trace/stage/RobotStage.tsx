/** A robot's run: what its cameras filmed, what it felt and what it was told, in step with the timeline. */

import { useCallback, useEffect, useMemo, useState } from "react";

import { Failure } from "../../parts/Failure";
import { Icon } from "../../parts/Icon";
import { type TraceSource, useSource } from "../source";
import { Chart } from "./Chart";
import { type Episode, EpisodeBuilder, readEpisode } from "./episode";
import { Film } from "./Film";
import { isRobot, lastAt, usePlaces } from "./places";

interface RobotStageProps {
  source: TraceSource;
  cursor: number;
  onGo: (place: number) => void;
}

export function RobotStage({ source, cursor, onGo }: RobotStageProps) {
  useSource(source);
  const places = usePlaces(source, isRobot);
  const from = source.seqAt(places[0] ?? -1);
  const to = source.isComplete ? source.seqAt(places.at(-1) ?? -1) : -1;
  const [episode, error] = useEpisode(source.runId, from, to);
  const here = lastAt(places, cursor);
  const seq = source.seqAt(places[Math.max(0, here)] ?? -1);
  const tick = useMemo(() => (episode ? tickOf(episode, seq) : 0), [episode, seq]);
  const [plays, setPlays] = useState(false);
  const goTick = useCallback(
    (wanted: number) => {
      const place = episode ? source.placeOf(episode.seqs[wanted] ?? -1) : -1;
      if (place >= 0) onGo(place);
    },
    [episode, source, onGo],
  );
  const last = (episode?.ticks.length ?? 1) - 1;
  const fps = episode?.cameras[0]?.fps ?? 10;
  useEffect(() => {
    if (!plays) return;
    if (tick >= last) {
      setPlays(false);
      return;
    }
    const timer = setTimeout(() => goTick(tick + 1), 1000 / fps);
    return () => clearTimeout(timer);
  }, [plays, tick, last, fps, goTick]);
  if (error && !episode)
    return (
      <div className="stage-note">
        <Failure error={error} />
      </div>
    );
  if (!episode) return <p className="stage-note">Loading…</p>;
  return (
    <>
      <div className="robot-stage" tabIndex={0} role="group" aria-label="Cameras and signals">
        {episode.cameras.length ? (
          <div className="robot-cameras">
            {episode.cameras.map((camera) => (
              <Film key={camera.name} camera={camera} tick={tick} plays={plays} />
            ))}
          </div>
        ) : null}
        {episode.plots.map((plot) => (
          <Chart key={plot.name} plot={plot} ticks={episode.ticks} tick={tick} onTick={goTick} />
        ))}
      </div>
      <div className="terminal-controls">
        <button type="button" className="icon-button" onClick={() => setPlays(!plays)} aria-label={plays ? "Pause" : "Play"}>
          <Icon name={plays ? "pause" : "play"} size={14} />
        </button>
        <input type="range" min={0} max={Math.max(0, last)} value={tick} onChange={(event) => goTick(Number(event.target.value))} aria-label="Ticks of the run" />
        <span className="number screen-count">
          {tick} / {last}
        </span>
      </div>
    </>
  );
}

function useEpisode(runId: string, from: number, to: number): [Episode | null, unknown] {
  const [episode, setEpisode] = useState<Episode | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    if (from < 0 || to < 0) return;
    const ending = new AbortController();
    const builder = new EpisodeBuilder();
    readEpisode(runId, from, to, builder, () => setEpisode(builder.build()), ending.signal).catch((caught: unknown) => {
      if (!ending.signal.aborted) setError(caught);
    });
    return () => ending.abort();
  }, [runId, from, to]);
  return [episode, error];
}

/** The tick that was the last to be observed at a step. */
function tickOf(episode: Episode, seq: number): number {
  let [low, high] = [0, episode.seqs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((episode.seqs[middle] ?? 0) <= seq) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
