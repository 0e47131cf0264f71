drop trigger users_touch on users;
drop function touch();
