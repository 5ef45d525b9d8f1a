/** What an environment is run with: names only, for a value is never told again. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { change, get, type Schemas } from "../api/http";
import { Dialog } from "../parts/Dialog";
import { Failure } from "../parts/Failure";
import { Rows } from "../settings/Section";
import { Line } from "../trace/Text";
import "../settings/settings.css";

type Environment = Schemas["EnvironmentItem"];

export function Variables({ of }: { of: Environment }) {
  const client = useQueryClient();
  const key = ["variables", of.id];
  const query = useQuery({ queryKey: key, queryFn: ({ signal }) => get("/v2/registry/{environment_id}/variables", { path: { environment_id: of.id }, signal }) });
  const [isSetting, setSetting] = useState(false);
  const reload = () => void client.invalidateQueries({ queryKey: key });
  const remove = useMutation({
    mutationFn: (name: string) => change("patch", "/v2/registry/{environment_id}/variables", { path: { environment_id: of.id }, body: { remove: [name] } }),
    onSettled: reload,
  });
  const error = query.error ?? remove.error;
  return (
    <section className="variables">
      <header className="section-head">
        <p className="quiet">Environment variables of every rollout that begins from now on. Values are kept encrypted, and never shown again.</p>
        <button type="button" className="button" onClick={() => setSetting(true)}>
          Set a variable
        </button>
      </header>
      {error ? <Failure error={error} /> : null}
      <Rows
        heads={["Name", ""]}
        rows={query.data?.names}
        rowKey={(name) => name}
        empty="No variable is set."
        cells={(name) => [
          <code key="name">
            <Line>{name}</Line>
          </code>,
          <button key="remove" type="button" className="button small danger" onClick={() => remove.mutate(name)} aria-label={`Take ${name} away`}>
            Take away
          </button>,
        ]}
      />
      {isSetting ? <SetVariable of={of} onClose={() => setSetting(false)} onDone={reload} /> : null}
    </section>
  );
}

function SetVariable({ of, onClose, onDone }: { of: Environment; onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const put = useMutation({
    mutationFn: () => change("patch", "/v2/registry/{environment_id}/variables", { path: { environment_id: of.id }, body: { set: { [name]: value } } }),
    onSuccess: () => {
      onDone();
      onClose();
    },
  });
  return (
    <Dialog title="Set a variable" onClose={onClose}>
      <form
        className="asking"
        onSubmit={(event) => {
          event.preventDefault();
          put.mutate();
        }}
      >
        <div className="asking-pair">
          <label className="labelled">
            <span className="label">Name</span>
            <input className="field" value={name} required maxLength={200} pattern="[A-Za-z_][A-Za-z0-9_]*" onChange={(event) => setName(event.target.value)} autoFocus />
          </label>
          <label className="labelled">
            <span className="label">Value</span>
            <input className="field" type="password" autoComplete="off" value={value} onChange={(event) => setValue(event.target.value)} />
          </label>
        </div>
        {put.error ? <Failure error={put.error} /> : null}
        <p className="asking-buttons">
          <button type="button" className="button" onClick={onClose}>
            Not now
          </button>
          <button type="submit" className="button primary" disabled={put.isPending}>
            Set it
          </button>
        </p>
      </form>
    </Dialog>
  );
}
