select 'nothing to do: the column holds more than it needs to';
