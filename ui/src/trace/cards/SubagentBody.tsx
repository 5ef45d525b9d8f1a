/** A run within the run: its steps, as steps of this timeline are shown. */

import { useMemo, useState } from "react";

import { StepCard } from "../StepCard";
import { KINDS } from "../kinds";
import { useReading } from "../reading";
import { view, type ViewOf } from "../step";
import { Text } from "../Text";

const SHOWN = 12;

export function SubagentBody({ step }: { step: ViewOf<"subagent"> }) {
  const [shown, setShown] = useState(SHOWN);
  const [toggled, setToggled] = useState(new Set<number>());
  const [raw, setRaw] = useState(new Set<number>());
  const { onShow } = useReading();
  const views = useMemo(() => step.steps.slice(0, shown).map(view), [step, shown]);
  const flip = (set: Set<number>, seq: number) => {
    const next = new Set(set);
    if (!next.delete(seq)) next.add(seq);
    return next;
  };
  return (
    <>
      <div className="nested">
        {views.map((one, index) => (
          <StepCard
            key={index}
            line={undefined}
            step={one}
            place={index}
            isOpen={toggled.has(one.seq) !== !KINDS[one.kind].isQuiet}
            isCurrent={false}
            isRaw={raw.has(one.seq)}
            onToggle={(seq) => setToggled((set) => flip(set, seq))}
            onRaw={(seq) => setRaw((set) => flip(set, seq))}
            onLink={() => onShow(step.seq)}
          />
        ))}
      </div>
      {step.steps.length > shown ? (
        <button type="button" className="text-more" onClick={() => setShown(shown + 50)}>
          {step.steps.length - shown} more steps
        </button>
      ) : null}
      {!step.steps.length && step.content !== null ? <Text words={step.content} /> : null}
      {step.stopReason && step.stopReason !== "done" ? <p className="step-note">It stopped: {step.stopReason.slice(0, 80)}.</p> : null}
    </>
  );
}
