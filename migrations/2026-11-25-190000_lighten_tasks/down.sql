set local lock_timeout = '5s';

drop index tasks_owner;

alter table tasks
    alter column task_type type text,
    alter column payload type jsonb,
    alter column priority type smallint,
    alter column max_attempts type int,
    alter column timeout_secs type int,
    alter column unique_key type text,
    add constraint tasks_task_type_check check (char_length(task_type) between 1 and 100),
    add constraint tasks_payload_check check (jsonb_typeof(payload) = 'object'),
    add constraint tasks_priority_check check (priority between -100 and 100),
    add constraint tasks_attempt_check check (attempt >= 0),
    add constraint tasks_max_attempts_check check (max_attempts between 1 and 100),
    add constraint tasks_retry_count_check check (retry_count >= 0),
    add constraint tasks_crashes_check check (crashes >= 0),
    add constraint tasks_timeout_secs_check check (timeout_secs > 0),
    add constraint tasks_unique_key_check check (char_length(unique_key) between 1 and 200);

create index tasks_owner on tasks (created_by, id);

create trigger tasks_updated_at before update on tasks for each row
    when (new.updated_at is not distinct from old.updated_at) execute function set_updated_at();

drop domain task_name, task_key, task_payload, task_priority, task_attempts_allowed, task_timeout;
