/** Which tasks of a taskset are to be run: all of them, those that fit some words, or single ones. */

import { useQuery } from "@tanstack/react-query";

import { get, type Schemas } from "../api/http";
import { Failure } from "../parts/Failure";
import { count, plural } from "../parts/format";
import { Icon } from "../parts/Icon";
import { Line } from "../trace/Text";

type Launch = Schemas["Launch"];

export interface Choice {
  words: string;
  env: string;
  /** Single tasks; while there are none, all that fit are run. */
  slugs: ReadonlySet<string>;
}

interface Tasks {
  slugs: string[];
  total: number | null;
  envs: string[];
  error: unknown;
}

/** So many are listed; more are found by words. */
const LISTED = 200;

export function useTasks(id: string, { words, env }: Choice): Tasks {
  const query = useQuery({
    queryKey: ["tasks to run", id, words, env],
    queryFn: ({ signal }) => get("/v2/tasksets/{taskset_id}/tasks", { path: { taskset_id: id }, query: { limit: LISTED, ...(words ? { search: words } : {}), ...(env ? { env } : {}) }, signal }),
    placeholderData: (before) => before,
  });
  const counted = useQuery({ queryKey: ["task facets", id], queryFn: ({ signal }) => get("/v2/tasksets/{taskset_id}/tasks", { path: { taskset_id: id }, query: { limit: 1, facets: true }, signal }) });
  const { data, error, isPlaceholderData } = query;
  return {
    slugs: data?.items.map((task) => task.slug) ?? [],
    total: data && !isPlaceholderData ? data.total : null,
    envs: counted.data?.facets?.env.map((one) => one.value) ?? [],
    error,
  };
}

/** What the platform is told of a choice: single tasks are named, all others found as they are here. */
export function chosenOf({ words, env, slugs }: Choice): Pick<Launch, "slugs" | "search" | "env"> {
  return slugs.size ? { slugs: [...slugs], search: "", env: null } : { slugs: null, search: words, env: env || null };
}

/** How many tasks a choice is; null while that is not known. */
export function taskCount({ slugs }: Choice, fitting: number | null): number | null {
  return slugs.size || fitting;
}

interface WhichProps {
  tasks: Tasks;
  choice: Choice;
  onChoice: (choice: Choice) => void;
}

export function WhichTasks({ tasks, choice, onChoice }: WhichProps) {
  const { words, env, slugs } = choice;
  const flip = (slug: string) => {
    const next = new Set(slugs);
    if (!next.delete(slug)) next.add(slug);
    onChoice({ ...choice, slugs: next });
  };
  const rest = (tasks.total ?? 0) - tasks.slugs.length;
  return (
    <fieldset className="fieldset">
      <legend className="label">Which tasks</legend>
      <div className="run-find">
        <label className="field-with-icon">
          <Icon name="search" size={14} />
          <input className="field" type="search" value={words} placeholder="All tasks, or those with these words" aria-label="Only tasks with these words" onChange={(event) => onChoice({ ...choice, words: event.target.value })} />
        </label>
        {tasks.envs.length > 1 || env ? (
          <select className="field" value={env} aria-label="Only tasks of an environment" onChange={(event) => onChoice({ ...choice, env: event.target.value })}>
            <option value="">Every environment</option>
            {(env && !tasks.envs.includes(env) ? [env, ...tasks.envs] : tasks.envs).map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        ) : null}
      </div>
      {tasks.error ? <Failure error={tasks.error} /> : null}
      <ul className="run-who run-which" aria-label="Single tasks">
        {tasks.slugs.map((slug) => (
          <li key={slug}>
            <label className="check">
              <input type="checkbox" checked={slugs.has(slug)} onChange={() => flip(slug)} />
              <Line>{slug}</Line>
            </label>
          </li>
        ))}
        {rest > 0 ? <li className="quiet run-rest">and {count(rest)} more: words find them</li> : null}
      </ul>
      <p className="quiet number run-says">
        {slugs.size ? (
          <>
            {plural(slugs.size, "task")} chosen.{" "}
            <button type="button" className="button small" onClick={() => onChoice({ ...choice, slugs: new Set() })}>
              Run all that fit instead
            </button>
          </>
        ) : tasks.total === null ? (
          "Counting…"
        ) : (
          `${words || env ? "All that fit: " : "All: "}${plural(tasks.total, "task")}. Choose some to run only those.`
        )}
      </p>
    </fieldset>
  );
}
