/** One step of a timeline: a line that says what it is, and below it what there is to see. */

import { memo } from "react";

import type { OutlineItem } from "../api/types";
import { stepAddress } from "../bundle/place";
import { compact, dollars, duration, offset } from "../parts/format";
import { Failure, Fence } from "../parts/Failure";
import { Icon } from "../parts/Icon";
import { Body } from "./cards/Body";
import { headline } from "./cards/headline";
import { Json } from "./Json";
import { KINDS } from "./kinds";
import { useReading } from "./reading";
import { seconds, type StepView } from "./step";
import { Line, Text } from "./Text";
import "./step.css";

interface StepCardProps {
  line: OutlineItem | undefined;
  step: StepView | undefined;
  failure?: unknown;
  place: number;
  isOpen: boolean;
  isCurrent: boolean;
  isRaw: boolean;
  onToggle: (seq: number) => void;
  onRaw: (seq: number) => void;
  onLink: (seq: number) => void;
  onRetry?: (place: number) => void;
}

export const StepCard = memo(function StepCard(props: StepCardProps) {
  const { line, step, place, isOpen, isCurrent } = props;
  const { beganMs } = useReading();
  const seq = step?.seq ?? line?.seq ?? null;
  const kind = step?.kind ?? line?.kind ?? "unknown";
  const of = KINDS[kind];
  const startMs = step?.startedAt ? Date.parse(step.startedAt) : line?.at_us ? line.at_us / 1000 : Number.NaN;
  const isError = (step?.error ?? null) !== null || line?.is_error === true || (step !== undefined && "isError" in step && step.isError);
  if (seq === null) return <div className="step step-waiting" aria-hidden="true"><div className="skeleton" /></div>;
  const head = step ? headline(step, isOpen) : { title: line?.title ?? "", isMono: kind === "shell" };
  return (
    <article className={`step kind-${kind}${isOpen && (props.isRaw || !isBare(step)) ? " open" : ""}${isCurrent ? " current" : ""}${isError ? " failed" : ""}`} aria-current={isCurrent || undefined} aria-label={`Step ${seq}, ${of.label}`}>
      <div className="step-rail" aria-hidden="true">
        <span className="step-icon">
          <Icon name={of.icon} size={14} />
        </span>
      </div>
      <div className="step-main">
        <header className="step-head">
          <button type="button" className="step-toggle" onClick={() => props.onToggle(seq)} aria-expanded={isOpen}>
            <span className="step-kind">{of.label}</span>
            <span className={`step-title${head.isMono ? " mono" : ""}`}>
              <Line>{head.title}</Line>
            </span>
          </button>
          <span className="step-meta number">
            {isError && kind !== "error" ? <span className="badge bad">failed</span> : null}
            <Meta step={step} line={line} />
            {beganMs !== null && Number.isFinite(startMs) ? <span className="step-at" title={new Date(startMs).toLocaleString()}>{offset((startMs - beganMs) / 1000)}</span> : null}
            <a
              className="step-no"
              href={stepAddress(seq)}
              title="Link to this step"
              onClick={(event) => {
                if (event.metaKey || event.ctrlKey) return;
                event.preventDefault();
                props.onLink(seq);
              }}
            >
              #{seq > 1_000_000_000 ? `+${seq - 1_000_000_000}` : seq}
            </a>
            <button type="button" className="step-raw" aria-pressed={props.isRaw} onClick={() => props.onRaw(seq)} title="As it was recorded (r)" aria-label="Show as it was recorded">
              <Icon name="code" size={13} />
            </button>
          </span>
        </header>
        {props.isRaw && step ? (
          <div className="step-body">
            <Json value={step.payload} open={3} />
          </div>
        ) : isOpen && !isBare(step) ? (
          <Fence of={step} fallback={(error) => <Broken error={error} step={step} />}>
            {step ? <Opened step={step} /> : props.failure ? <Failure error={props.failure} onRetry={() => props.onRetry?.(place)} /> : <div className="step-body"><div className="skeleton step-loading" /></div>}
          </Fence>
        ) : null}
      </div>
    </article>
  );
});

/** A turn that only calls tools: its line says it all. */
function isBare(step: StepView | undefined): boolean {
  return step?.kind === "turn" && step.calls.length > 0 && step.content === null && step.reasoning === null && step.refusal === null && step.error === null && !step.citations.length;
}

function Opened({ step }: { step: StepView }) {
  return (
    <div className="step-body">
      <Body step={step} />
      {step.error !== null && step.kind !== "error" ? (
        <div className="step-error">
          <Text words={step.error} mono />
        </div>
      ) : null}
    </div>
  );
}

function Broken({ error, step }: { error: unknown; step: StepView | undefined }) {
  return (
    <div className="step-body">
      <p className="step-note">This step cannot be shown as what it is ({error instanceof Error ? error.message.slice(0, 200) : "unknown fault"}); here it is as it was recorded.</p>
      <Json value={step?.payload} open={2} />
    </div>
  );
}

function Meta({ step, line }: { step: StepView | undefined; line: OutlineItem | undefined }) {
  const took = step ? seconds(step) : line?.took_us != null ? line.took_us / 1e6 : null;
  const usage = step?.kind === "turn" ? step.usage : null;
  const tokens = usage ? [usage.prompt, usage.completion] : line?.tokens;
  const cost = usage ? usage.cost : line?.cost_usd;
  return (
    <>
      {tokens ? (
        <span className="step-tokens" title={`${tokens[0] ?? "?"} tokens in${usage?.cached ? `, ${usage.cached} of them from the cache` : ""}, ${tokens[1] ?? "?"} out`}>
          {tokens[0] == null ? "?" : compact(tokens[0])}
          <span className="step-arrow">→</span>
          {tokens[1] == null ? "?" : compact(tokens[1])}
        </span>
      ) : null}
      {cost != null ? <span className="step-cost">{dollars(cost)}</span> : null}
      {took !== null && took > 0 ? <span className="step-took">{duration(took)}</span> : null}
    </>
  );
}
