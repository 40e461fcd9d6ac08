// Creates, lists and reads by the types that openapi-typescript made: client.js URL TOKEN.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };

function expect(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

const [baseUrl, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

// As a client whose models hold null for whatever nobody set.
const wanted: components["schemas"]["TaskCreation"] = {
  task_type: "noop",
  payload: null,
  queue: null,
  priority: null,
  run_at: null,
  delay_secs: null,
  max_attempts: null,
  unique_key: null,
  timeout_secs: null,
};
const made = await client.POST("/api/v1/tasks", { body: wanted });
expect(made.data !== undefined, made.error);

const listed = await client.GET("/api/v1/tasks", { params: { query: { limit: 10 } } });
expect(listed.data?.items.some((task) => task.id === made.data.id) === true, listed);

const read = await client.GET("/api/v1/tasks/{id}", { params: { path: { id: made.data.id } } });
// That the field is required is what this line compiles by.
const finishedAt: string | null | undefined = read.data?.finished_at;
expect(read.data?.status === "pending" && finishedAt === null, read);

const me = await client.GET("/api/v1/auth/me");
const kept = await client.PATCH("/api/v1/users/me", { body: { username: null, email: null } });
expect(kept.data !== undefined && kept.data.email === me.data?.user.email, kept);
