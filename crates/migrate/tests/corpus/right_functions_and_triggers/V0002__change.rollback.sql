drop policy everybody on users;
alter table users disable row level security;
revoke select on users from public;
drop domain positive;
drop type mood;
drop trigger users_touch on users;
drop function touch();
