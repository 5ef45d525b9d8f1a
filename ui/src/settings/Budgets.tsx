/** What may be spent through the gateway: in all, by a key, in a job, in a run. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { change, get, type Schemas } from "../api/http";
import { Dialog } from "../parts/Dialog";
import { Failure } from "../parts/Failure";
import { compact, dollars, percent } from "../parts/format";
import { Line } from "../trace/Text";
import { Rows, Section } from "./Section";

type Budget = Schemas["BudgetItem"];

export function Budgets() {
  const client = useQueryClient();
  const query = useQuery({ queryKey: ["budgets"], queryFn: ({ signal }) => get("/v2/budgets", { signal }) });
  const reload = () => void client.invalidateQueries({ queryKey: ["budgets"] });
  const [isMaking, setMaking] = useState(false);
  const remove = useMutation({
    mutationFn: (budget: Budget) => change("delete", "/v2/budgets/{scope}/{subject}", { path: { scope: budget.scope, subject: budget.subject } }),
    onSettled: reload,
  });
  return (
    <Section
      title="Budgets"
      says="Calls of models through the gateway are refused once one is used up; a run that meets it ends cleanly."
      error={query.error ?? remove.error}
      action={
        <button type="button" className="button primary" onClick={() => setMaking(true)}>
          Set a budget
        </button>
      }
    >
      <Rows
        heads={["Of", "Money", "Tokens", ""]}
        rows={query.data?.items}
        rowKey={(budget) => budget.scope + budget.subject}
        empty="No budget: calls are not limited."
        cells={(budget) => [
          <span key="of">
            {budget.scope === "team" ? "the team" : <>{budget.scope} <code>{budget.subject.slice(0, 12)}</code></>}
          </span>,
          <Used key="money" spent={budget.spent_cost_usd} most={budget.max_cost_usd} spell={dollars} />,
          <Used key="tokens" spent={budget.spent_tokens} most={budget.max_tokens} spell={compact} />,
          budget.scope === "team" ? null : (
            <button key="remove" type="button" className="button small danger" onClick={() => remove.mutate(budget)}>
              Remove
            </button>
          ),
        ]}
      />
      {isMaking ? <Make onClose={() => setMaking(false)} onDone={reload} /> : null}
    </Section>
  );
}

function Used({ spent, most, spell }: { spent: number; most: number | null; spell: (value: number) => string }) {
  if (most === null)
    return (
      <span className="quiet number">
        <Line>{spell(spent)}</Line>, no limit
      </span>
    );
  const share = most > 0 ? spent / most : 1;
  return (
    <span className="used number" title={percent(Math.min(1, share))}>
      <span className="used-bar" aria-hidden="true">
        <span className={share >= 1 ? "full" : ""} style={{ width: `${Math.min(1, share) * 100}%` }} />
      </span>
      {spell(spent)} of {spell(most)}
    </span>
  );
}

function Make({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [scope, setScope] = useState<Budget["scope"]>("team");
  const [subject, setSubject] = useState("");
  const [cost, setCost] = useState("");
  const [tokens, setTokens] = useState("");
  const make = useMutation({
    mutationFn: () => change("put", "/v2/budgets", { body: { scope, subject: scope === "team" ? "" : subject, max_cost_usd: cost ? Number(cost) : null, max_tokens: tokens ? Number(tokens) : null } }),
    onSuccess: () => {
      onDone();
      onClose();
    },
  });
  return (
    <Dialog title="Set a budget" onClose={onClose}>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <div className="form-row">
          <label className="labelled">
            <span className="label">Of</span>
            <select className="field" value={scope} onChange={(event) => setScope(event.target.value as Budget["scope"])}>
              <option value="team">the whole team</option>
              <option value="key">one key</option>
              <option value="job">one job</option>
              <option value="run">one run</option>
            </select>
          </label>
          {scope === "team" ? null : (
            <label className="labelled">
              <span className="label">Its id</span>
              <input className="field mono" value={subject} onChange={(event) => setSubject(event.target.value)} required />
            </label>
          )}
        </div>
        <div className="form-row">
          <label className="labelled">
            <span className="label">US dollars</span>
            <input className="field" type="number" min="0" step="any" value={cost} onChange={(event) => setCost(event.target.value)} placeholder="no limit" />
          </label>
          <label className="labelled">
            <span className="label">Tokens</span>
            <input className="field" type="number" min="0" step="1" value={tokens} onChange={(event) => setTokens(event.target.value)} placeholder="no limit" />
          </label>
        </div>
        {make.error ? <Failure error={make.error} /> : null}
        <p className="asking-buttons">
          <button type="submit" className="button primary" disabled={make.isPending || (!cost && !tokens)}>
            Set it
          </button>
        </p>
      </form>
    </Dialog>
  );
}
