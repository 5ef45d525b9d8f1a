/** Projects, which jobs, tasksets and environments are put into. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { change, get } from "../api/http";
import { Dialog } from "../parts/Dialog";
import { Failure } from "../parts/Failure";
import { Moment } from "../parts/Moment";
import { Line } from "../trace/Text";
import { Rows, Section } from "./Section";

export function Projects() {
  const client = useQueryClient();
  const query = useQuery({ queryKey: ["projects"], queryFn: ({ signal }) => get("/v2/projects", { query: { limit: 100 }, signal }) });
  const [isMaking, setMaking] = useState(false);
  return (
    <Section
      title="Projects"
      says="What is recorded and kept belongs to one; without another word to the default one."
      error={query.error}
      action={
        <button type="button" className="button primary" onClick={() => setMaking(true)}>
          New project
        </button>
      }
    >
      <Rows
        heads={["Name", "Description", "Made", ""]}
        rows={query.data?.items}
        rowKey={(project) => project.id}
        empty="No project yet."
        cells={(project) => [
          <strong key="name">
            <Line>{project.name}</Line>
          </strong>,
          <span key="says" className="quiet">
            <Line>{project.description ?? ""}</Line>
          </span>,
          <Moment key="made" iso={project.created_at} />,
          project.is_default ? <span className="badge">default</span> : null,
        ]}
      />
      {isMaking ? <Make onClose={() => setMaking(false)} onDone={() => void client.invalidateQueries({ queryKey: ["projects"] })} /> : null}
    </Section>
  );
}

function Make({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const make = useMutation({
    mutationFn: () => change("post", "/v2/projects", { body: { name, description: description || null } }),
    onSuccess: () => {
      onDone();
      onClose();
    },
  });
  return (
    <Dialog title="New project" onClose={onClose}>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <label className="labelled">
          <span className="label">Name</span>
          <input className="field" value={name} onChange={(event) => setName(event.target.value)} required maxLength={200} autoFocus />
        </label>
        <label className="labelled">
          <span className="label">Description</span>
          <input className="field" value={description} onChange={(event) => setDescription(event.target.value)} maxLength={2000} />
        </label>
        {make.error ? <Failure error={make.error} /> : null}
        <p className="asking-buttons">
          <button type="submit" className="button primary" disabled={make.isPending || !name}>
            Make it
          </button>
        </p>
      </form>
    </Dialog>
  );
}
