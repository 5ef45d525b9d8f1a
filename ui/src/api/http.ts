/** Requests to the platform's API, typed by its OpenAPI document, failing with one sentence and a hint. */

import { bundledJob } from "../bundle/place";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

type JsonOf<Operation> = Operation extends {
  responses: { 200: { content: { "application/json": infer Body } } };
}
  ? Body
  : never;
type QueryOf<Operation> = Operation extends { parameters: { query?: infer Query } } ? Query : never;
type BodyOf<Operation> = Operation extends {
  requestBody?: { content: { "application/json": infer Body } };
}
  ? Body
  : undefined;

type With<Method extends string> = {
  [Path in keyof paths]: paths[Path] extends Record<Method, { responses: unknown }> ? Path : never;
}[keyof paths];

type Names<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}`
  ? Name | Names<Rest>
  : never;

type Given<Path extends string, Operation> = {
  path?: Record<Names<Path>, string>;
  query?: QueryOf<Operation>;
  signal?: AbortSignal | undefined;
};

/** The platform refused, or could not be reached (`status` 0). */
export class ApiFailure extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint: string | null = null,
  ) {
    super(message);
    this.name = "ApiFailure";
  }
}

export function address(path: string, names: Record<string, string> = {}, query: object = {}): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(names[name] ?? ""));
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") words.append(name, String(value));
  }
  return words.size ? `${filled}?${words}` : filled;
}

export async function request(url: string, options: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiFailure(0, "The platform cannot be reached.", "Is it still running? hud platform up starts it.");
  }
  if (!response.ok) throw await failureOf(response);
  return response;
}

async function failureOf(response: Response): Promise<ApiFailure> {
  let detail: unknown;
  let hint: unknown;
  try {
    const body: unknown = await response.json();
    if (typeof body === "object" && body !== null) ({ detail, hint } = body as { detail?: unknown; hint?: unknown });
  } catch {
    // A proxy's page, or nothing: the status has to do.
  }
  const said = typeof detail === "string" && detail ? sentence(detail) : `The platform answered ${response.status}.`;
  return new ApiFailure(response.status, said, typeof hint === "string" ? hint : null);
}

function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

export async function get<Path extends With<"get"> & string>(
  path: Path,
  given: Given<Path, paths[Path]["get"]> = {},
): Promise<JsonOf<paths[Path]["get"]>> {
  const url = address(path, given.path, (given.query as object | undefined) ?? {});
  if (bundledJob !== null) {
    const { answer } = await import("../bundle/answer");
    const answered = await answer(url);
    given.signal?.throwIfAborted();
    return answered as JsonOf<paths[Path]["get"]>;
  }
  const response = await request(url, given.signal ? { signal: given.signal } : {});
  return (await response.json()) as JsonOf<paths[Path]["get"]>;
}

type Change = "post" | "put" | "patch" | "delete";

export async function change<Method extends Change, Path extends With<Method> & string>(
  method: Method,
  path: Path,
  given: Given<Path, paths[Path][Method]> & { body?: BodyOf<paths[Path][Method]> } = {},
): Promise<unknown> {
  const options: RequestInit = { method: method.toUpperCase() };
  if (given.body !== undefined) {
    options.body = JSON.stringify(given.body);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await request(address(path, given.path, (given.query as object | undefined) ?? {}), options);
  const text = await response.text();
  return text ? (JSON.parse(text) as unknown) : null;
}
