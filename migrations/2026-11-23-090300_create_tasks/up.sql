set local lock_timeout = '5s';

-- One row a registration; an id is never used again, so a lost worker cannot come back under it.
create table workers (
    id bigint generated always as identity primary key,
    host text not null,
    pid int not null,
    version text not null,
    task_types text[] not null,
    queues text[] not null,
    started_at timestamptz not null default now(),
    -- Renewed by one small update for the whole process; not indexed, so that the update stays heap-only.
    lease_expires_at timestamptz not null
) with (fillfactor = 50);
comment on table workers is 'Worker processes that hold a lease; a task whose worker is not here is rescued.';

create table queues (
    name text primary key check (name ~ '^[a-z0-9_.-]{1,64}$'),
    paused_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table queues is 'Queues that were paused or configured; a queue need not be here to be used.';
create trigger queues_updated_at before update on queues for each row execute function set_updated_at();

create table schedules (
    id uuid primary key,
    name text not null constraint schedules_name_key unique check (char_length(name) between 1 and 100),
    cron text not null,
    timezone text not null default 'UTC',
    task_type text not null,
    payload jsonb not null default '{}' check (jsonb_typeof(payload) = 'object'),
    queue text not null default 'default',
    enabled boolean not null default true,
    missed text not null default 'skip' constraint schedules_missed_known check (missed in ('skip', 'run_once')),
    next_run_at timestamptz,
    last_run_at timestamptz,
    created_by uuid references users on delete set null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table schedules is 'Recurring tasks: each tick is one task, fired by compare-and-swap on next_run_at.';
create index schedules_due on schedules (next_run_at) where enabled;
create trigger schedules_updated_at before update on schedules for each row execute function set_updated_at();

create table tasks (
    id uuid primary key,
    task_type text not null check (char_length(task_type) between 1 and 100),
    queue text not null default 'default',
    payload jsonb not null default '{}' check (jsonb_typeof(payload) = 'object'),
    status text not null default 'pending' constraint tasks_status_known check
        (status in ('pending', 'scheduled', 'running', 'retrying', 'succeeded', 'failed', 'cancelled')),
    priority smallint not null default 0 check (priority between -100 and 100),
    run_at timestamptz not null default now(),
    -- The number of the attempt under way or last made.
    attempt int not null default 0 check (attempt >= 0),
    max_attempts int not null check (max_attempts between 1 and 100),
    retry_count int not null default 0 check (retry_count >= 0),
    -- Attempts that ended with their worker's death: too many, and the task is taken for poison.
    crashes int not null default 0 check (crashes >= 0),
    timeout_secs int not null check (timeout_secs > 0),
    -- The fence: a random number drawn for each claim. Whoever reports on the task must show it.
    lease bigint,
    worker_id bigint,
    cancel_requested_at timestamptz,
    last_error text,
    progress jsonb,
    result jsonb,
    unique_key text check (char_length(unique_key) between 1 and 200),
    -- Whose key it is: its owner's, or all zeros for the system. Not created_by, which a deleted user leaves null: two
    -- of these with the same key would then stand in each other's way.
    unique_scope uuid,
    request_id text,
    schedule_id uuid,
    created_by uuid references users on delete set null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    constraint tasks_running_is_leased check ((status = 'running') = (lease is not null and worker_id is not null)),
    constraint tasks_unique_key_has_scope check ((unique_key is null) = (unique_scope is null)),
    constraint tasks_finished_has_time check ((status in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null))
) with (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 5000
);
comment on table tasks is 'Work to be done in the background, done, or given up.';
create index tasks_ready on tasks (queue, priority desc, run_at, id) where status = 'pending';
create index tasks_waiting on tasks (run_at) where status in ('scheduled', 'retrying');
create index tasks_running on tasks (worker_id) where status = 'running';
create unique index tasks_unique_key on tasks (unique_key, unique_scope)
    where unique_key is not null and status in ('pending', 'scheduled', 'running', 'retrying');
create index tasks_owner on tasks (created_by, id);
create index tasks_by_key on tasks (unique_key, id) where unique_key is not null;
create index tasks_given_up on tasks (status, id) where status in ('failed', 'cancelled');
create index tasks_finished on tasks (finished_at) where finished_at is not null;
-- The queue's own statements set updated_at themselves: a PL/pgSQL call for each row of each would cost them a fifth.
create trigger tasks_updated_at before update on tasks for each row
    when (new.updated_at is not distinct from old.updated_at) execute function set_updated_at();

create table task_attempts (
    -- No foreign key: checking it for each attempt would cost a tenth of the throughput. The trigger below cleans up.
    task_id uuid not null,
    attempt int not null,
    worker_id bigint not null,
    started_at timestamptz not null,
    finished_at timestamptz not null default now(),
    outcome text not null constraint task_attempts_outcome_known check
        (outcome in ('succeeded', 'failed', 'cancelled', 'snoozed', 'timed_out', 'lost', 'interrupted')),
    error text,
    primary key (task_id, attempt)
);
comment on table task_attempts is
    'Attempts that ended without success. The one under way, or the one that succeeded, is in its task: status, attempt, worker_id, started_at, finished_at.';

create function tasks_deleted() returns trigger language plpgsql as $$
begin
    delete from task_attempts where task_id = any(array(select id from gone));
    return null;
end
$$;
create trigger tasks_delete_attempts after delete on tasks
    referencing old table as gone for each statement execute function tasks_deleted();

create function tasks_truncated() returns trigger language plpgsql as $$
begin
    delete from task_attempts;
    return null;
end
$$;
create trigger tasks_truncate_attempts after truncate on tasks for each statement execute function tasks_truncated();

-- What happened to tasks, for event streams: one row a statement, so that a claim of 500 is one row. Written only
-- while somebody listens or may come back: a queue without listeners does not pay for them.
create table task_events (
    id bigint generated always as identity primary key,
    -- Who wrote it. Ids are drawn before commit: a reader who saw one does not know that all before it are visible,
    -- but all of transactions that ended before the oldest one still at work are.
    xid bigint not null default (pg_current_xact_id()::text::bigint),
    at timestamptz not null default clock_timestamp(),
    task_ids uuid[] not null,
    task_types text[] not null,
    queues text[] not null,
    statuses text[] not null,
    attempts int[] not null,
    progress jsonb[] not null,
    owners uuid[] not null
);
comment on table task_events is 'Changes of tasks in batches, kept for an hour, for those who listen.';
create index task_events_at on task_events (at);
create index task_events_order on task_events (xid, id);

create table task_events_wanted (
    only_row boolean primary key default true check (only_row),
    until timestamptz not null
) with (fillfactor = 50);
comment on table task_events_wanted is 'Until when changes of tasks are recorded; processes with listeners move it on.';
insert into task_events_wanted (until) values ('-infinity');

create function tasks_changed() returns trigger language plpgsql as $$
begin
    if exists (select from task_events_wanted where until > statement_timestamp()) then
        insert into task_events (task_ids, task_types, queues, statuses, attempts, progress, owners)
        select array_agg(id), array_agg(task_type), array_agg(queue), array_agg(status), array_agg(attempt),
            array_agg(progress), array_agg(created_by)
        from changed having count(*) > 0;
        if found then
            perform pg_notify('starter_tasks', '=');
        end if;
    end if;
    return null;
end
$$;
create trigger tasks_insert_events after insert on tasks
    referencing new table as changed for each statement execute function tasks_changed();
create trigger tasks_update_events after update on tasks
    referencing new table as changed for each statement execute function tasks_changed();

create table idempotency_keys (
    -- Who sent it: a user, so that one caller cannot see what another did.
    user_id uuid not null references users on delete cascade,
    key text not null check (char_length(key) between 1 and 255),
    -- SHA-256 of method, path and body.
    request_hash bytea not null check (octet_length(request_hash) = 32),
    -- Of the first answer; null while the first request is under way.
    status smallint,
    location text,
    body bytea,
    -- The answer holds a secret: it is encrypted under a key that is not here (see http/idempotency.rs).
    sealed boolean not null default false,
    created_at timestamptz not null default now(),
    primary key (user_id, key),
    constraint idempotency_keys_answer_whole check ((status is null) = (body is null))
);
comment on table idempotency_keys is 'First answers to requests that carried Idempotency-Key, for 24 hours.';
create index idempotency_keys_age on idempotency_keys (created_at);
