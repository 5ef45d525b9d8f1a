/** What can be done with a run as a whole. */

import type { RunDetail } from "../api/types";
import { bundledJob } from "../bundle/place";
import { Icon, type IconName } from "../parts/Icon";
import { BesideOther } from "./beside/BesideOther";
import type { Neighbours } from "./useNeighbours";
import { CancelRun, Invalidate } from "./Verdicts";

interface ToolbarProps {
  /** Says what there is to see; null where a run cannot be looked at. */
  live: string | null;
  isLive: boolean;
  onLive: () => void;
  run: RunDetail;
  neighbours: Neighbours;
  onRun: (id: string | undefined) => void;
  hasOutline: boolean;
  onOutline: () => void;
  hasStage: boolean;
  canStage: boolean;
  onStage: () => void;
  onHelp: () => void;
}

export function Toolbar(props: ToolbarProps) {
  const { run, neighbours } = props;
  return (
    <>
      {run.end_time === null && run.status !== "interrupted" && bundledJob === null ? <CancelRun run={run} /> : null}
      {props.live === null ? null : <Tool icon="eye" label={props.live} onClick={props.onLive} isOn={props.isLive} />}
      <Tool icon="left" label="Run before ([)" onClick={() => props.onRun(neighbours.before)} disabled={!neighbours.before} />
      <Tool icon="chevron" label="Next run (])" onClick={() => props.onRun(neighbours.after)} disabled={!neighbours.after} />
      <span className="tool-gap" />
      <BesideOther run={run} />
      {run.end_time === null || bundledJob !== null ? null : <Invalidate run={run} />}
      <Tool icon="outline" label="Outline (o)" onClick={props.onOutline} isOn={props.hasOutline} />
      {props.canStage ? <Tool icon="stage" label="Environment beside the timeline (s)" onClick={props.onStage} isOn={props.hasStage} /> : null}
      {bundledJob === null ? <a className="icon-button" href={`/v2/trace/${run.id}/download`} download title="Download everything that is kept of this run" aria-label="Download">
        <Icon name="download" />
      </a> : null}
      <Tool icon="keyboard" label="Keys (?)" onClick={props.onHelp} />
    </>
  );
}

function Tool({ icon, label, onClick, disabled = false, isOn }: { icon: IconName; label: string; onClick: () => void; disabled?: boolean; isOn?: boolean }) {
  return (
    <button type="button" className="icon-button" onClick={onClick} disabled={disabled} title={label} aria-label={label} aria-pressed={isOn}>
      <Icon name={icon} />
    </button>
  );
}
