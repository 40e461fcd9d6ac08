set local lock_timeout = '5s';

-- `finished_at` is when the handler ended, which is before the transaction that writes it down. A statement that ends tasks sets
-- `updated_at` too; one that takes a deleted owner from tasks sets neither.
create or replace function tasks_ended() returns trigger language plpgsql as $$
begin
    -- Most statements are claims, and a claim ends nothing.
    if (select status from changed limit 1) <> 'running' then
        insert into task_endings (at, task_ids)
        select max(finished_at), array_agg(id) from changed
        where finished_at is not null and greatest(updated_at, finished_at) >= now() having count(*) > 0;
    end if;
    return null;
end
$$;
