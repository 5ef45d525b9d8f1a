/** What a person decides about a run: that it ends, that it does not count, that it counts after all. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { change, type Schemas } from "../api/http";
import { runQuery } from "../api/queries";
import type { RunDetail } from "../api/types";
import { Dialog } from "../parts/Dialog";
import { Failure } from "../parts/Failure";
import { Icon } from "../parts/Icon";

export function Invalidate({ run }: { run: RunDetail }) {
  const client = useQueryClient();
  const [isAsking, setAsking] = useState(false);
  const [reason, setReason] = useState("");
  const isInvalid = run.invalid_reason !== null;
  const mark = useMutation({
    mutationFn: async () =>
      (isInvalid
        ? await change("delete", "/v2/trace/{trace_id}/invalid", { path: { trace_id: run.id } })
        : await change("put", "/v2/trace/{trace_id}/invalid", { path: { trace_id: run.id }, body: { reason } })) as RunDetail,
    onSuccess: (changed) => {
      client.setQueriesData<RunDetail>({ queryKey: ["run"] }, (held) => (held?.id === changed.id ? changed : held));
      setAsking(false);
    },
  });
  const title = isInvalid ? "Let it count after all" : "Say that it does not count";
  return (
    <>
      <button type="button" className="icon-button" onClick={() => setAsking(true)} title={title} aria-label={title} aria-pressed={isInvalid}>
        <Icon name="flag" />
      </button>
      {isAsking ? (
        <Dialog title={isInvalid ? "Let this run count after all?" : "This run does not count?"} onClose={() => setAsking(false)}>
          <form
            className="asking"
            onSubmit={(event) => {
              event.preventDefault();
              mark.mutate();
            }}
          >
            {isInvalid ? (
              <p>It was marked: {run.invalid_reason}</p>
            ) : (
              <>
                <p>No mean, leaderboard or comparison includes it from now on. It is still shown, with your reason, and the audit log says that it was you.</p>
                <label className="labelled">
                  <span className="label">Why</span>
                  <input className="field" value={reason} onChange={(event) => setReason(event.target.value)} maxLength={2000} required autoFocus placeholder="the task leaked its answer" />
                </label>
              </>
            )}
            {mark.error ? <Failure error={mark.error} /> : null}
            <p className="asking-buttons">
              <button type="button" className="button" onClick={() => setAsking(false)}>
                Leave it
              </button>
              <button type="submit" className="button primary" disabled={mark.isPending || (!isInvalid && !reason.trim())}>
                {isInvalid ? "Let it count" : "Mark it"}
              </button>
            </p>
          </form>
        </Dialog>
      ) : null}
    </>
  );
}

const TOLD: Record<Schemas["RunCancelled"]["status"], string> = {
  accepted: "Whoever works on it is told; it ends with its next step.",
  finished: "It had ended already.",
  unreachable: "It is worked on beside this platform: only its whole job can be ended.",
};

export function CancelRun({ run }: { run: RunDetail }) {
  const client = useQueryClient();
  const cancel = useMutation({
    mutationFn: async () => (await change("post", "/v2/rollouts/cancel", { body: { trace_id: run.id } })) as Schemas["RunCancelled"],
    onSuccess: () => void client.invalidateQueries({ queryKey: runQuery(run.id).queryKey }),
  });
  return (
    <>
      <button type="button" className="button small danger" onClick={() => cancel.mutate()} disabled={cancel.isPending}>
        <Icon name="stop" /> Cancel
      </button>
      {cancel.data || cancel.error ? (
        <Dialog title="Cancel this run" onClose={() => cancel.reset()}>
          {cancel.error ? <Failure error={cancel.error} /> : <p>{TOLD[cancel.data?.status ?? "accepted"]}</p>}
        </Dialog>
      ) : null}
    </>
  );
}
