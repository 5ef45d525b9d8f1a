/** Short names for the shapes of the API that pages pass around. */

import type { Schemas } from "./http";

export type Job = Schemas["JobItem"];
export type JobDetail = Schemas["JobDetail"];
export type Run = Schemas["RunItem"];
export type RunDetail = Schemas["RunDetail"];
export type StepItem = Schemas["StepItem"];
export type OutlineItem = Schemas["OutlineItem"];
export type Kind = OutlineItem["kind"];
export type Outcome = Schemas["Outcome"];
export type Counts = Schemas["Counts"];
