// graphile-worker (Node), measured as its own perfTest does, with the row count as the end. Called by benches/peers/run.
//
//   node bench.mjs drain TASKS PROCESSES     prints "ENQUEUED/s DRAINED/s" of the second of two runs; the first warms up
//   node bench.mjs latency SAMPLES GAP_MS    prints "P50 P99 MAX" in ms, from before add_job to the first line of the handler
//
// Settings: DATABASE_URL, CONCURRENCY, LOCAL_QUEUE (-1: none), REFETCH_MS (-1: none), COMPLETE_MS (-1: no batches), ADD_BATCH.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { Logger, runMigrations, runTaskList } from "graphile-worker";

const setting = (name, byDefault) => Number(process.env[name] ?? byDefault);
const connectionString = process.env.DATABASE_URL;
const concurrency = setting("CONCURRENCY", 24);
const localQueue = setting("LOCAL_QUEUE", 500);
const refetchMs = setting("REFETCH_MS", 10);
const completeMs = setting("COMPLETE_MS", 0);
const addBatch = setting("ADD_BATCH", 1000);
const logger = new Logger(() => () => {});
process.env.NO_LOG_SUCCESS = "1";

const connect = async () => {
  const pool = new pg.Pool({ connectionString, max: concurrency + 1, idleTimeoutMillis: 0 });
  await Promise.all(Array.from({ length: 4 }, () => pool.query("select pg_sleep(0.01)")));
  return pool;
};

const startWorker = (pool, taskList) =>
  runTaskList(
    {
      noHandleSignals: true,
      logger,
      preset: {
        worker: {
          concurrentJobs: concurrency,
          maxPoolSize: concurrency + 1,
          localQueue:
            localQueue > 0
              ? { size: localQueue, ...(refetchMs >= 0 && { refetchDelay: { durationMs: refetchMs } }) }
              : { size: -1 },
          completeJobBatchDelay: completeMs,
          failJobBatchDelay: completeMs,
        },
      },
    },
    taskList,
    pool,
  );

// A worker process: starts a worker at each "go", tells how many tasks its handler has had, and which at the end.
async function worker() {
  const pool = await connect();
  let had = [];
  let told = 0;
  const tell = () => {
    if (had.length > told) process.send({ more: had.length - told });
    told = had.length;
  };
  let running;
  let ticker;
  process.on("message", async (message) => {
    if (message === "go") {
      had = [];
      told = 0;
      ticker = setInterval(tell, 5);
      running = startWorker(pool, { noop: ({ n }) => void had.push(n) });
    } else if (message === "stop") {
      clearInterval(ticker);
      await running.gracefulShutdown();
      process.send({ had });
    } else {
      await pool.end();
      process.exit(0);
    }
  });
  process.send("ready");
}

const answer = (child, wanted) =>
  new Promise((resolve) => {
    const listen = (message) => {
      if (!wanted(message)) return;
      child.off("message", listen);
      resolve(message);
    };
    child.on("message", listen);
  });

async function drain(tasks, processes) {
  const pool = await connect();
  await runMigrations({ connectionString, logger });
  const children = Array.from({ length: processes }, () => fork(fileURLToPath(import.meta.url), ["worker"]));
  await Promise.all(children.map((child) => answer(child, (m) => m === "ready")));
  let figures;
  for (let run = 0; run < 2; run++) figures = await drainOnce(pool, children, tasks);
  children.forEach((child) => child.send("end"));
  await pool.end();
  console.log(figures.map((figure) => figure.toFixed(0)).join(" "));
}

async function drainOnce(pool, children, tasks) {
  for (const statement of [
    "truncate graphile_worker._private_jobs cascade",
    "vacuum analyze graphile_worker._private_jobs",
    "checkpoint",
  ])
    await pool.query(statement);
  let began = performance.now();
  for (let n = 0; n < tasks; n += addBatch) {
    const specs = [];
    for (let i = n; i < Math.min(n + addBatch, tasks); i++) specs.push({ identifier: "noop", payload: { n: i } });
    await pool.query(
      `select 1 from graphile_worker.add_jobs(array(
         select json_populate_recordset(null::graphile_worker.job_spec, $1::json)))`,
      [JSON.stringify(specs)],
    );
  }
  const enqueued = (tasks * 1000) / (performance.now() - began);

  let had = 0;
  let everyone;
  const all = new Promise((resolve) => (everyone = resolve));
  const count = (message) => {
    had += message.more ?? 0;
    if (had >= tasks) everyone();
  };
  children.forEach((child) => child.on("message", count));
  began = performance.now();
  children.forEach((child) => child.send("go"));
  await all;
  // Fetching and running is done; wait for what is still to be completed.
  const left = "select exists (select from graphile_worker._private_jobs) as any";
  while ((await pool.query(left)).rows[0].any) await sleep(1);
  const drained = (tasks * 1000) / (performance.now() - began);

  children.forEach((child) => child.off("message", count));
  const stopped = children.map((child) => answer(child, (m) => m.had));
  children.forEach((child) => child.send("stop"));
  const times = new Uint8Array(tasks);
  for (const { had } of await Promise.all(stopped)) for (const n of had) times[n]++;
  if (!times.every((n) => n === 1)) throw new Error("not every task was done exactly once");
  return [enqueued, drained];
}

async function latency(samples, gapMs) {
  const pool = await connect();
  await runMigrations({ connectionString, logger });
  await pool.query("truncate graphile_worker._private_jobs");
  let started;
  const running = startWorker(pool, { noop: () => started(performance.now()) });
  const client = new pg.Client({ connectionString });
  await client.connect();
  await sleep(1000);
  const times = [];
  for (let n = -50; n < samples; n++) {
    const start = new Promise((resolve) => (started = resolve));
    const began = performance.now();
    await client.query("select graphile_worker.add_job('noop', '{}')");
    const took = (await start) - began;
    if (n >= 0) times.push(took);
    if (gapMs > 0) await sleep(gapMs);
  }
  await running.gracefulShutdown();
  await client.end();
  await pool.end();
  times.sort((a, b) => a - b);
  const at = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))];
  console.log([at(0.5), at(0.99), at(1)].map((ms) => ms.toFixed(2)).join(" "));
}

const [what, ...numbers] = process.argv.slice(2);
await { worker, drain, latency }[what](...numbers.map(Number));
