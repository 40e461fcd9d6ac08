set local lock_timeout = '5s';

drop trigger tasks_check_owners on tasks;
drop function tasks_check_owners();
alter table tasks disable trigger tasks_update_events;
update tasks set created_by = null
where created_by is not null and not exists (select from users where users.id = tasks.created_by);
alter table tasks enable trigger tasks_update_events;
alter table tasks add constraint tasks_created_by_fkey foreign key (created_by) references users on delete set null;

drop trigger users_note_deletion on users;
drop trigger users_note_deactivation on users;
drop function users_departed();
drop table departed_users;
