drop table login_throttle;
drop table one_time_tokens;
drop table users;
drop function set_updated_at();
