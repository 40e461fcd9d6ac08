set local lock_timeout = '5s';

-- A third of what a task cost was entries in indexes. An update that changes no column of any index makes none (it is
-- "heap-only"), so what changes when a task succeeds is in none: not status, not lease, not finished_at.
create domain task_stage as text constraint task_stage_known check (value in ('due', 'waiting', 'failed', 'cancelled'));
alter table tasks
    add column stage task_stage default 'due',
    add column held_key task_key;
comment on column tasks.stage is 'Which of the small indexes the task is in; null for one that runs or succeeded.';
comment on column tasks.held_key is 'unique_key, for as long as nobody else may have it.';

drop index tasks_ready, tasks_waiting, tasks_running, tasks_unique_key, tasks_given_up, tasks_finished;
alter table tasks
    drop constraint tasks_status_known,
    drop constraint tasks_running_is_leased,
    drop constraint tasks_finished_has_time;

-- Nothing that anybody watches changes by it.
alter table tasks disable trigger tasks_update_events;
update tasks set
    stage = case when status = 'pending' then 'due' when status in ('scheduled', 'retrying') then 'waiting'
                 when status in ('failed', 'cancelled') then status end,
    held_key = case when status in ('pending', 'scheduled', 'running', 'retrying') then unique_key end;
alter table tasks enable trigger tasks_update_events;

-- One expression, which ends at the first status that fits: three were dearer.
alter table tasks add constraint tasks_status_fits check (case status
    when 'running' then stage is null and lease is not null and worker_id is not null and finished_at is null
    when 'succeeded' then stage is null and lease is null and finished_at is not null and held_key is null
    when 'pending' then stage is not null and stage = 'due' and lease is null and finished_at is null
    when 'scheduled' then stage is not null and stage = 'waiting' and lease is null and finished_at is null
    when 'retrying' then stage is not null and stage = 'waiting' and lease is null and finished_at is null
    when 'failed' then stage is not null and stage = 'failed' and lease is null and finished_at is not null
        and held_key is null
    when 'cancelled' then stage is not null and stage = 'cancelled' and lease is null and finished_at is not null
        and held_key is null
    else false end);

create index tasks_ready on tasks (queue, priority desc, run_at, id) where stage = 'due';
create index tasks_waiting on tasks (run_at) where stage = 'waiting';
create index tasks_given_up on tasks (stage, id) where stage in ('failed', 'cancelled');
create unique index tasks_unique_key on tasks (held_key, unique_scope) where held_key is not null;
-- Room for a heap-only update, and for the new version of a claimed task, on the page where the task is.
alter table tasks set (fillfactor = 50);

-- Instead of an index of running tasks: what one claim took. It goes when nothing of it runs any more.
create table task_claims (
    lease bigint primary key,
    worker_id bigint not null,
    task_type text,
    task_ids uuid[] not null
) with (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on table task_claims is 'What workers claimed: a running task is in the claim that has its lease.';
comment on column task_claims.task_type is 'The type of all of them, where only so many of it may run.';
-- Compressing costs more than the claim, and gains nothing: ids are random.
alter table task_claims alter column task_ids set storage external;
create index task_claims_worker on task_claims (worker_id);
create index task_claims_type on task_claims (task_type) where task_type is not null;
insert into task_claims (lease, worker_id, task_ids)
    select lease, worker_id, array_agg(id) from tasks where status = 'running' group by lease, worker_id;

-- Instead of an index of finished tasks: which ended together.
create table task_endings (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    task_ids uuid[] not null
) with (toast_tuple_target = 8160);
comment on table task_endings is 'Tasks that ended in the last hour, by statement: what is told of this hour is taken from them.';
alter table task_endings alter column task_ids set storage external;
create index task_endings_at on task_endings (at);
insert into task_endings (at, task_ids)
    select max(finished_at), array_agg(id) from tasks
    where finished_at > now() - interval '1 hour' group by date_trunc('second', finished_at) order by 1;

create function tasks_ended() returns trigger language plpgsql as $$
begin
    -- Most statements are claims, and a claim ends nothing.
    if (select status from changed limit 1) <> 'running' then
        insert into task_endings (at, task_ids)
        select max(finished_at), array_agg(id) from changed where finished_at is not null having count(*) > 0;
    end if;
    return null;
end
$$;
create trigger tasks_note_endings after update on tasks
    referencing new table as changed for each statement execute function tasks_ended();
