set local lock_timeout = '5s';

drop trigger tasks_note_endings on tasks;
drop function tasks_ended();
drop table task_endings;
drop table task_claims;
alter table tasks set (fillfactor = 80);
drop index tasks_ready, tasks_waiting, tasks_unique_key, tasks_given_up;
alter table tasks drop constraint tasks_status_fits, drop column stage, drop column held_key;
drop domain task_stage;
alter table tasks
    add constraint tasks_status_known check
        (status in ('pending', 'scheduled', 'running', 'retrying', 'succeeded', 'failed', 'cancelled')),
    add constraint tasks_running_is_leased check ((status = 'running') = (lease is not null and worker_id is not null)),
    add constraint tasks_finished_has_time check ((status in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null));
create index tasks_ready on tasks (queue, priority desc, run_at, id) where status = 'pending';
create index tasks_waiting on tasks (run_at) where status in ('scheduled', 'retrying');
create index tasks_running on tasks (worker_id) where status = 'running';
create unique index tasks_unique_key on tasks (unique_key, unique_scope)
    where unique_key is not null and status in ('pending', 'scheduled', 'running', 'retrying');
create index tasks_given_up on tasks (status, id) where status in ('failed', 'cancelled');
create index tasks_finished on tasks (finished_at) where finished_at is not null;
