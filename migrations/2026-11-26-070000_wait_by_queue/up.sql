set local lock_timeout = '5s';

-- A worker looks for the next task of its queues, however many others wait in those of other workers.
create index tasks_waiting_of_queue on tasks (queue, run_at) where stage = 'waiting';

-- Tasks whose owner is deleted are updated, but have not ended by that.
create or replace function tasks_ended() returns trigger language plpgsql as $$
begin
    -- Most statements are claims, and a claim ends nothing.
    if (select status from changed limit 1) <> 'running' then
        insert into task_endings (at, task_ids)
        select max(finished_at), array_agg(id) from changed where finished_at >= now() having count(*) > 0;
    end if;
    return null;
end
$$;
