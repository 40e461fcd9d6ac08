set local lock_timeout = '5s';

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
