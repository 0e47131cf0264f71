alter table users drop column utc, drop column day, drop column tags, drop column score, drop column settings, drop column at, drop column active;
