/** Which page an address is. Pages are loaded when they are gone to, what they show at the same time. */

import { createHashHistory, createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect } from "@tanstack/react-router";

import { firstLinesQuery, firstRunsQuery, firstStepsQuery, jobQuery, queries, runQuery, seqIn } from "./api/queries";
import { bundledJob } from "./bundle/place";
import { Frame } from "./frame/Frame";
import { Failure } from "./parts/Failure";
import { Missing } from "./frame/Missing";

type Words = Record<string, string | undefined>;

/** Every value in an address stays the text it is. */
function words(search: Record<string, unknown>): Words {
  const found: Words = {};
  for (const [name, value] of Object.entries(search)) {
    if (value !== undefined && value !== null && value !== "") found[name] = String(value);
  }
  return found;
}

const root = createRootRoute({
  component: Frame,
  notFoundComponent: Missing,
  errorComponent: ({ error, reset }) => (
    <div className="page">
      <Failure error={error} onRetry={reset} />
    </div>
  ),
  validateSearch: words,
});

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: () => {
    if (bundledJob !== null) throw redirect({ to: "/jobs/$jobId", params: { jobId: bundledJob }, replace: true });
    throw redirect({ to: "/jobs", replace: true });
  },
});

const jobs = createRoute({
  getParentRoute: () => root,
  path: "/jobs",
  component: lazyRouteComponent(() => import("./jobs/JobsPage"), "JobsPage"),
});

const job = createRoute({
  getParentRoute: () => root,
  path: "/jobs/$jobId",
  shouldReload: false,
  loader: ({ params, cause }) => {
    if (cause === "stay") return;
    void queries.prefetchQuery(jobQuery(params.jobId));
    void queries.prefetchQuery(firstRunsQuery(params.jobId));
  },
  component: lazyRouteComponent(() => import("./jobs/JobPage"), "JobPage"),
});

const trace = createRoute({
  getParentRoute: () => root,
  path: "/trace/$traceId",
  loaderDeps: ({ search }) => ({ step: search.step }),
  shouldReload: false,
  // All that the page asks for first is asked for while its own code is still on the way.
  loader: ({ params, deps, location, cause }) => {
    if (cause === "stay") return;
    const seq = seqIn(deps.step, location.hash);
    void queries.prefetchQuery(runQuery(params.traceId));
    void queries.prefetchQuery(firstLinesQuery(params.traceId, seq));
    void queries.prefetchQuery(firstStepsQuery(params.traceId, seq));
  },
  component: lazyRouteComponent(() => import("./trace/TracePage"), "TracePage"),
});

const beside = createRoute({
  getParentRoute: () => root,
  path: "/trace/$traceId/beside/$otherId",
  component: lazyRouteComponent(() => import("./trace/beside/BesidePage"), "BesidePage"),
});

// Names hold slashes.
const taskset = createRoute({
  getParentRoute: () => root,
  path: "/tasksets/$",
  component: lazyRouteComponent(() => import("./tasksets/TasksetPage"), "TasksetPage"),
});

const compare = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  component: lazyRouteComponent(() => import("./compare/ComparePage"), "ComparePage"),
});

const models = createRoute({
  getParentRoute: () => root,
  path: "/models",
  component: lazyRouteComponent(() => import("./models/ModelsPage"), "ModelsPage"),
});

const usage = createRoute({
  getParentRoute: () => root,
  path: "/usage",
  component: lazyRouteComponent(() => import("./models/ModelsPage"), "UsagePage"),
});

const environments = createRoute({
  getParentRoute: () => root,
  path: "/environments",
  component: lazyRouteComponent(() => import("./environments/EnvironmentsPage"), "EnvironmentsPage"),
});

const environment = createRoute({
  getParentRoute: () => root,
  path: "/environments/$environmentId",
  component: lazyRouteComponent(() => import("./environments/EnvironmentPage"), "EnvironmentPage"),
});

const build = createRoute({
  getParentRoute: () => root,
  path: "/environments/$environmentId/builds/$buildId",
  component: lazyRouteComponent(() => import("./environments/BuildPage"), "BuildPage"),
});

const settings = createRoute({
  getParentRoute: () => root,
  path: "/settings",
  beforeLoad: () => {
    throw redirect({ to: "/settings/$section", params: { section: "keys" }, replace: true });
  },
});

const section = createRoute({
  getParentRoute: () => root,
  path: "/settings/$section",
  component: lazyRouteComponent(() => import("./settings/SettingsPage"), "SettingsPage"),
});

// Addresses that existing clients print.
const elsewhere = [
  ["/project/api-keys", "keys"],
  ["/projects", "projects"],
].map(([path, to]) =>
  createRoute({
    getParentRoute: () => root,
    path: path ?? "",
    beforeLoad: () => {
      throw redirect({ to: "/settings/$section", params: { section: to ?? "" }, replace: true });
    },
  }),
);

const pages = [home, jobs, job, trace, beside, taskset, compare, models, usage, environments, environment, build, settings, section] as const;

const whole = root.addChildren([...pages, ...elsewhere]);
// A static host has one page, and what it shows stands behind the #.
const ofBundle = () => root.addChildren([home, jobs, job, trace, beside]) as unknown as typeof whole;

export const router = createRouter({
  routeTree: bundledJob === null ? whole : ofBundle(),
  ...(bundledJob === null ? {} : { history: createHashHistory() }),
  defaultPreload: "intent",
  scrollRestoration: false,
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (search) => {
    const text = new URLSearchParams(words(search) as Record<string, string>).toString();
    return text ? `?${text}` : "";
  },
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
