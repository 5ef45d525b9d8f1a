/** What an agent has changed in its workspace up to a step: each file as it was changed last. */

import { useEffect, useMemo, useState } from "react";

import { type TraceSource, useSource } from "../source";
import type { Patch } from "../step";
import { PatchView } from "../cards/FilesBody";
import { Line } from "../Text";
import { isFiles, lastAt, usePlaces } from "./places";

const LOOKED_AT = 200;

export function FilesStage({ source, cursor }: { source: TraceSource; cursor: number }) {
  const version = useSource(source);
  const places = usePlaces(source, isFiles);
  const until = lastAt(places, cursor);
  const [chosen, setChosen] = useState<string | null>(null);
  useEffect(() => {
    for (const place of places.slice(Math.max(0, until + 1 - LOOKED_AT), until + 1)) source.want(place, place);
  }, [source, places, until]);
  const files = useMemo(() => {
    const found = new Map<string, { patch: Patch; times: number }>();
    for (const place of places.slice(Math.max(0, until + 1 - LOOKED_AT), until + 1)) {
      const step = source.view(place);
      if (step?.kind !== "files") continue;
      for (const patch of step.patches) found.set(patch.path, { patch, times: (found.get(patch.path)?.times ?? 0) + 1 });
    }
    return [...found.values()].reverse();
  }, [source, places, until, version]);
  if (until < 0) return <p className="stage-note">Up to this step no file has changed.</p>;
  const shown = files.find((file) => file.patch.path === chosen) ?? files[0];
  return (
    <div className="files-stage" tabIndex={0} role="group" aria-label="Changed files">
      <div className="files-list">
        {files.slice(0, 500).map(({ patch, times }) => (
          <button key={patch.path} type="button" aria-pressed={patch === shown?.patch} onClick={() => setChosen(patch.path)}>
            <span className={`badge ${patch.status === "added" ? "good" : patch.status === "deleted" ? "bad" : "warn"}`}>{patch.status === "added" ? "A" : patch.status === "deleted" ? "D" : "M"}</span>
            <span className="grow">
              <Line>{patch.path}</Line>
            </span>
            {times > 1 ? <span className="label">changed {times} times</span> : null}
          </button>
        ))}
      </div>
      {shown ? <PatchView patch={shown.patch} /> : null}
    </div>
  );
}
