/** API keys: made here and shown once, revoked for good. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { change, get, type Schemas } from "../api/http";
import { meQuery } from "../api/queries";
import { Command } from "../parts/Copy";
import { Dialog } from "../parts/Dialog";
import { Failure } from "../parts/Failure";
import { Icon } from "../parts/Icon";
import { Moment } from "../parts/Moment";
import { Line } from "../trace/Text";
import { Rows, Section } from "./Section";

type Key = Schemas["KeyItem"];
type Scope = Key["scopes"][number];

const SCOPES: Record<Scope, string> = { read: "look", write: "record and change", inference: "ask models through the gateway", admin: "manage people, keys and providers" };
const DAYS: [string, number | null][] = [["never", null], ["in 30 days", 30], ["in 90 days", 90], ["in a year", 365]];

export function Keys() {
  const client = useQueryClient();
  const me = useQuery(meQuery);
  const query = useQuery({ queryKey: ["keys"], queryFn: ({ signal }) => get("/v2/keys", { signal }) });
  const [isMaking, setMaking] = useState(false);
  const [asking, setAsking] = useState<Key | null>(null);
  const isAdmin = me.data?.scopes.includes("admin") ?? false;
  return (
    <Section
      title="API keys"
      says="A program shows its key with every request. Only its hash is kept here, so it is shown once."
      error={query.error}
      action={
        isAdmin ? (
          <button type="button" className="button primary" onClick={() => setMaking(true)}>
            Make a key
          </button>
        ) : null
      }
    >
      <Rows
        heads={["Name", "Key", "May", "Made", "Last used", "Ends", ""]}
        rows={query.data?.items}
        rowKey={(key) => key.id}
        empty="No key yet. Programs on this machine need none to record; the gateway and other machines do."
        cells={(key) => [
          <strong key="name">
            <Line>{key.name}</Line>
          </strong>,
          <code key="shown">{key.shown}</code>,
          <span key="scopes" className="scopes">
            {key.scopes.map((scope) => (
              <span key={scope} className="badge">
                {scope}
              </span>
            ))}
          </span>,
          <Moment key="made" iso={key.created_at} />,
          key.used_at ? <Moment key="used" iso={key.used_at} /> : <span className="quiet">never</span>,
          key.revoked_at ? <span className="badge bad">revoked</span> : key.expires_at ? <Moment key="ends" iso={key.expires_at} /> : <span className="quiet">never</span>,
          isAdmin && !key.revoked_at ? (
            <button key="revoke" type="button" className="button small danger" onClick={() => setAsking(key)}>
              Revoke
            </button>
          ) : null,
        ]}
      />
      {isMaking ? <Make onClose={() => setMaking(false)} onMade={() => void client.invalidateQueries({ queryKey: ["keys"] })} /> : null}
      {asking ? <Revoke of={asking} onClose={() => setAsking(null)} onDone={() => void client.invalidateQueries({ queryKey: ["keys"] })} /> : null}
    </Section>
  );
}

function Make({ onClose, onMade }: { onClose: () => void; onMade: () => void }) {
  const [name, setName] = useState("");
  const [days, setDays] = useState<number | null>(null);
  const [scopes, setScopes] = useState<ReadonlySet<Scope>>(new Set<Scope>(["read", "write", "inference"]));
  const make = useMutation({
    mutationFn: async () => (await change("post", "/v2/keys", { body: { name, scopes: [...scopes], expires_in_s: days === null ? null : days * 86_400 } })) as Schemas["KeyMade"],
    onSuccess: onMade,
  });
  if (make.data)
    return (
      <Dialog title="Your key" onClose={onClose}>
        <div className="secret">
          <p>Copy it now: it is not shown again.</p>
          <Command>{make.data.api_key}</Command>
          <p className="quiet">With our client:</p>
          <Command>{`hud set HUD_API_KEY=${make.data.api_key}`}</Command>
          <p className="asking-buttons">
            <button type="button" className="button primary" onClick={onClose}>
              I have it
            </button>
          </p>
        </div>
      </Dialog>
    );
  return (
    <Dialog title="Make a key" onClose={onClose}>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <label className="labelled">
          <span className="label">Name</span>
          <input className="field" value={name} onChange={(event) => setName(event.target.value)} required maxLength={200} autoFocus placeholder="what uses it" />
        </label>
        <fieldset className="fieldset">
          <legend className="label">It may</legend>
          {(Object.keys(SCOPES) as Scope[]).map((scope) => (
            <label key={scope} className="check">
              <input
                type="checkbox"
                checked={scopes.has(scope)}
                onChange={() =>
                  setScopes((held) => {
                    const next = new Set(held);
                    if (!next.delete(scope)) next.add(scope);
                    return next;
                  })
                }
              />
              <strong>{scope}</strong> <span className="quiet">{SCOPES[scope]}</span>
            </label>
          ))}
        </fieldset>
        <label className="labelled">
          <span className="label">It ends</span>
          <select className="field" value={String(days)} onChange={(event) => setDays(event.target.value === "null" ? null : Number(event.target.value))}>
            {DAYS.map(([label, value]) => (
              <option key={label} value={String(value)}>
                {label}
              </option>
            ))}
          </select>
        </label>
        {make.error ? <Failure error={make.error} /> : null}
        <p className="asking-buttons">
          <button type="submit" className="button primary" disabled={make.isPending || !name || !scopes.size}>
            <Icon name="key" /> Make it
          </button>
        </p>
      </form>
    </Dialog>
  );
}

function Revoke({ of, onClose, onDone }: { of: Key; onClose: () => void; onDone: () => void }) {
  const revoke = useMutation({
    mutationFn: () => change("delete", "/v2/keys/{key_id}", { path: { key_id: of.id } }),
    onSuccess: () => {
      onDone();
      onClose();
    },
  });
  return (
    <Dialog title={`Revoke ${of.name}?`} onClose={onClose}>
      <div className="asking">
        <p>Whatever uses it is refused from now on. This cannot be undone.</p>
        {revoke.error ? <Failure error={revoke.error} /> : null}
        <p className="asking-buttons">
          <button type="button" className="button" onClick={onClose}>
            Keep it
          </button>
          <button type="button" className="button danger" onClick={() => revoke.mutate()} disabled={revoke.isPending}>
            Revoke it
          </button>
        </p>
      </div>
    </Dialog>
  );
}
