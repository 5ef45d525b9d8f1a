/** Who is in the team, and what each may do. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { change, get, type Schemas } from "../api/http";
import { meQuery } from "../api/queries";
import { Dialog } from "../parts/Dialog";
import { Failure } from "../parts/Failure";
import { Moment } from "../parts/Moment";
import { Line } from "../trace/Text";
import { Rows, Section } from "./Section";

type Member = Schemas["MemberItem"];
type Role = Member["role"];

const ROLES: Role[] = ["owner", "admin", "member", "viewer"];

export function Members() {
  const client = useQueryClient();
  const me = useQuery(meQuery);
  const query = useQuery({ queryKey: ["members"], queryFn: ({ signal }) => get("/v2/members", { signal }) });
  const reload = () => void client.invalidateQueries({ queryKey: ["members"] });
  const isAdmin = me.data?.scopes.includes("admin") ?? false;
  const [isAdding, setAdding] = useState(false);
  const setRole = useMutation({
    mutationFn: ({ member, role }: { member: Member; role: Role }) => change("put", "/v2/members/{user_id}", { path: { user_id: member.user_id }, body: { role } }),
    onSettled: reload,
  });
  const remove = useMutation({
    mutationFn: (member: Member) => change("delete", "/v2/members/{user_id}", { path: { user_id: member.user_id } }),
    onSettled: reload,
  });
  return (
    <Section
      title="Members"
      says="Viewers look, members record and change, admins manage people, keys and providers."
      error={query.error ?? setRole.error ?? remove.error}
      action={
        isAdmin ? (
          <button type="button" className="button primary" onClick={() => setAdding(true)}>
            Add somebody
          </button>
        ) : null
      }
    >
      <Rows
        heads={["Name", "Email", "Role", "Since", ""]}
        rows={query.data?.items}
        rowKey={(member) => member.user_id}
        empty="Nobody is here."
        cells={(member) => [
          <strong key="name">
            <Line>{member.name}</Line>
          </strong>,
          member.email ? <Line key="email">{member.email}</Line> : <span className="quiet">–</span>,
          isAdmin ? (
            <select key="role" className="field" value={member.role} aria-label={`Role of ${member.name}`} onChange={(event) => setRole.mutate({ member, role: event.target.value as Role })}>
              {ROLES.map((role) => (
                <option key={role}>{role}</option>
              ))}
            </select>
          ) : (
            member.role
          ),
          <Moment key="since" iso={member.created_at} />,
          isAdmin && member.user_id !== me.data?.user_id.replaceAll("-", "") ? (
            <button key="remove" type="button" className="button small danger" onClick={() => remove.mutate(member)}>
              Remove
            </button>
          ) : null,
        ]}
      />
      {isAdding ? <Add onClose={() => setAdding(false)} onDone={reload} /> : null}
    </Section>
  );
}

function Add({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState("");
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("member");
  const add = useMutation({
    mutationFn: () => change("post", "/v2/members", { body: { name, email: email || null, role } }),
    onSuccess: () => {
      onDone();
      onClose();
    },
  });
  return (
    <Dialog title="Add somebody" onClose={onClose}>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <label className="labelled">
          <span className="label">Name</span>
          <input className="field" value={name} onChange={(event) => setName(event.target.value)} required maxLength={200} autoFocus />
        </label>
        <div className="form-row">
          <label className="labelled">
            <span className="label">Email</span>
            <input className="field" type="email" value={email} onChange={(event) => setEmail(event.target.value)} maxLength={320} />
          </label>
          <label className="labelled">
            <span className="label">Role</span>
            <select className="field" value={role} onChange={(event) => setRole(event.target.value as Role)}>
              {ROLES.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        </div>
        {add.error ? <Failure error={add.error} /> : null}
        <p className="asking-buttons">
          <button type="submit" className="button primary" disabled={add.isPending || !name}>
            Add
          </button>
        </p>
      </form>
    </Dialog>
  );
}
