#!/usr/bin/perl
# What Perl's Cache::Memcached::Fast (fast) or Cache::Memcached (pure) says of servers.
# Usage: perl.pl fast|pure steps SERVER, or perl.pl fast|pure spread SERVER SERVER
use strict;
use warnings;
use utf8;
use Data::Dumper;

my ($kind, $mode, @servers) = @ARGV;
my $fast = $kind eq 'fast';
my $class = $fast ? 'Cache::Memcached::Fast' : 'Cache::Memcached';
eval "require $class" or die $@;
$| = 1;
binmode STDOUT, ':raw';
($Data::Dumper::Terse, $Data::Dumper::Indent, $Data::Dumper::Sortkeys, $Data::Dumper::Useqq) = (1, 0, 1, 1);

sub client {
	my %options = @_;
	my @list = map { { address => $_ } } @servers;
	return $class->new({ servers => [@list], connect_timeout => 20, io_timeout => 20, check_args => 'skip', %options }) if $fast;
	return $class->new({ servers => [@servers], connect_timeout => 20, select_timeout => 20, %options });
}

sub show {
	my ($step, @values) = @_;
	print "$step: ", join(' ', map { ref $_ || !defined $_ || /[^ -~]/ ? Dumper($_) : "'$_'" } @values), "\n";
}

# yes is for booleans, of which Perl has several kinds: a boolean's spelling, but not the absence of an answer.
sub yes { my $v = shift; return !defined $v ? undef : $v ? 1 : 0 }

# have is a get whose answer does not vanish from a list where there is nothing.
sub have { my ($m, $key) = @_; return scalar $m->get($key) }

sub same { my ($got, $want) = @_; return defined $got && Dumper($got) eq Dumper($want) ? 1 : 0 }

sub spread {
	my %kinds = $fast
		? (crc => [], ketama => [ketama_points => 150], namespace => [namespace => 'ns-'], 'namespace, hashed' => [namespace => 'hs-', hash_namespace => 1])
		: (crc => [], namespace => [namespace => 'ns-'], 'no rehash' => [no_rehash => 1]);
	for my $name (sort keys %kinds) {
		my $m = client(@{ $kinds{$name} });
		(my $word = $name) =~ tr/ ,/-/d;
		my @keys = map { "$word:$_" } 0 .. 199;
		$m->set($_, "value of $_") for @keys;
		show($name, scalar keys %{ $m->get_multi(@keys) }, have($m, "$word:7"), yes($m->delete("$word:8")), scalar keys %{ $m->get_multi(@keys) });
	}
}

sub steps {
	my $m = client(compress_threshold => 1000);
	show('flush', yes($m->set('gone', 1)), $fast ? values %{ $m->flush_all } : yes($m->flush_all), have($m, 'gone'));

	my %values = (text => 'text', empty => '', bytes => "\0\r\n\xff END\r\n", int => 42, negative => -7, float => 1.5,
		list => [1, 'two', [3.5, undef]], map => { a => 1, b => { c => 'd' } }, code => \'reference', object => bless({ x => 1 }, 'Point'));
	for my $key (sort keys %values) {
		my $got = $m->set($key, $values{$key});
		show("set $key", yes($got), same($m->get($key), ref $values{$key} ? $values{$key} : "$values{$key}"), ref $m->get($key));
	}
	my $unicode = "größer \x{2603} \x{8a9e}";
	if ($fast) {
		my $utf8 = client(utf8 => 1);
		show('unicode', yes($utf8->set('unicode', $unicode)), $utf8->get('unicode') eq $unicode, length $m->get('unicode'));
	}
	utf8::encode(my $encoded = $unicode);
	show('encoded', yes($m->set('encoded', $encoded)), $m->get('encoded') eq $encoded);
	for my $size (998, 999, 1000, 1001, 100_000) { # on both sides of the least size that is compressed
		show("large $size", yes($m->set("large-$size", 'x' x $size)), same($m->get("large-$size"), 'x' x $size));
	}
	srand 1;
	my $noise = join '', map { chr int rand 256 } 1 .. 200_000;
	show('noise', yes($m->set('noise', $noise)), same($m->get('noise'), $noise));
	$m->enable_compress(0);
	show('not compressed', yes($m->set('plain', 'y' x 100_000)), length $m->get('plain'));
	show('too large', yes($m->set('plain', 'z' x 1_048_500)), length have($m, 'plain'));
	show('too large by far', yes($m->set('text', 'z' x 3_000_000)), have($m, 'text'));
	$m->enable_compress(1);
	$m->set('text', 'text');

	my %many = map { ("many-$_" => "value $_") } 0 .. 299;
	if ($fast) {
		show('set_multi', scalar grep { $_ } $m->set_multi(map { [$_, $many{$_}] } sort keys %many));
	} else {
		$m->set($_, $many{$_}) for sort keys %many;
	}
	show('get_multi', same($m->get_multi(keys %many), \%many), $m->get_multi('many-1', 'none', 'many-2'), $m->get_multi('none'));

	show('add', yes($m->add('new', 1)), yes($m->add('new', 2)), have($m, 'new'));
	show('replace', yes($m->replace('new', 3)), have($m, 'new'), yes($m->replace('none', 3)), have($m, 'none'));
	show('delete', yes($m->delete('new')), yes($m->delete('new')), have($m, 'new'));
	show('delete with a time', yes($m->delete('many-4', 0))) unless $fast;
	$m->set('s', 'b');
	show('append, prepend', yes($m->append('s', 'c')), yes($m->prepend('s', 'a')), have($m, 's'), yes($m->append('none', 'x')), yes($m->prepend('none', 'x')));

	show('incr nothing', yes($m->incr('none')), yes($m->decr('none')), have($m, 'none'));
	$m->set('n', 10);
	show('incr, decr', $m->incr('n'), $m->incr('n', 10), $m->decr('n', 6), $m->decr('n', 100), have($m, 'n'));
	$m->set('n', '18446744073709551615');
	show('wrap', $m->incr('n', 2), have($m, 'n'));
	$m->set('n', 99);
	show('wider, narrower', $m->incr('n'), $m->decr('n'), have($m, 'n'), $m->incr('n', 5));
	show('incr text', yes($m->incr('text')), yes($m->decr('list')), have($m, 'text'));

	fast_only($m) if $fast;

	show('over', yes($m->set('over', 1, -1)), have($m, 'over'), yes($m->set('over', 1, time - 100)), have($m, 'over'), yes($m->add('over', 2)), have($m, 'over'));
	show('ends', yes($m->set('ends', 1, 1000)), yes($m->set('ends-then', 1, time + 2000)), yes($m->set('long', 1, 40 * 86400)), have($m, 'long'), have($m, 'ends'));

	my $ns = client(namespace => 'ns:');
	show('namespace', yes($ns->set('k', 'v')), have($ns, 'k'), $ns->get_multi('k', 'none'), have($m, 'ns:k'), have($m, 'k'));
	for my $n (246, 247, 248, 250, 251, 1000) {
		my $ok = $n <= 250; # a key that is too long gets an error to get, and another from this library
		show("key of $n", yes($m->set('k' x $n, $n)), $ok ? have($m, 'k' x $n) : (), yes($ns->set('k' x $n, -$n)), $n <= 247 ? have($ns, 'k' x $n) : ());
	}
	show('after all', have($m, 'k' x 250), $m->get_multi('many-1', 'k' x 250));

	if ($fast) {
		show('versions', values %{ $m->server_versions });
	} else {
		my $stats = $m->stats(['misc', 'malloc', 'self']);
		show('stats', sort keys %{ $stats->{hosts}{ $servers[0] }{misc} });
		show('stats in total', sort keys %{ $stats->{total} });
		show('maps', defined $m->stats(['maps'])->{hosts}{ $servers[0] }{maps} ? 1 : 0);
	}
	$m->disconnect_all;
	show('again', have($m, 's'));
}

# fast_only has what Cache::Memcached has not.
sub fast_only {
	my $m = shift;
	$m->set('swap', 'one');
	my $got = $m->gets('swap');
	show('gets', $got->[1], $got->[0] > 0, scalar($m->gets('none')));
	show('cas', yes($m->cas('swap', $got->[0], 'two')), have($m, 'swap'), yes($m->cas('swap', $got->[0], 'three')), have($m, 'swap'), yes($m->cas('none', $got->[0], 'x')));
	my $all = $m->gets_multi('many-5', 'many-6', 'none');
	show('gets_multi', map { $_, $all->{$_}[1] } sort keys %$all);
	$m->set('many-6', 'changed');
	show('cas_multi', map { yes($_) } $m->cas_multi(map { [$_, $all->{$_}[0], 'swapped', 500] } 'many-5', 'many-6'));
	show('after', $m->get_multi('many-5', 'many-6'));
	show('add_multi, replace_multi', map { yes($_) } $m->add_multi(['many-1', 'x'], ['added', 'x']), $m->replace_multi(['many-1', 'y'], ['none', 'y']));
	show('append_multi, prepend_multi', map { yes($_) } $m->append_multi(['many-1', '>'], ['none', '>']), $m->prepend_multi(['many-1', '<'], ['none', '<']));
	$m->set_multi(['n1', 1], ['n2', 2]);
	show('incr_multi, decr_multi', $m->incr_multi('n1', ['n2', 5], 'none'), $m->decr_multi(['n1', 7], 'n2'), $m->get_multi('n1', 'n2'));
	show('touch', yes($m->touch('s', 1000)), yes($m->touch('none', 1000)), map { yes($_) } $m->touch_multi(['n1', 2000], ['none']));
	show('gat', scalar($m->gat(1000, 's')), scalar($m->gat(1000, 'none')), $m->gat_multi(3000, 'many-7', 'none', 'many-8'));
	$got = $m->gats(2000, 's');
	show('gats', $got->[1], yes($m->cas('s', $got->[0], 'by gats', 100)), have($m, 's'), scalar keys %{ $m->gats_multi(10, 'many-9', 'none') });
	$m->set_multi(['t1', 1], ['t2', 2]);
	show('touch to the past', yes($m->touch('t1', -1)), have($m, 't1'), scalar($m->gat(-1, 't2')), have($m, 't2'));
	show('delete_multi', map { yes($_) } $m->delete_multi('many-10', 'none', 'many-11'));

	my $hasty = client(nowait => 1);
	$hasty->set("hasty-$_", $_) for 0 .. 499;
	$hasty->delete('hasty-3');
	$hasty->incr('hasty-4', 10);
	$hasty->nowait_push;
	show('nowait', scalar keys %{ $hasty->get_multi(map { "hasty-$_" } 0 .. 499) }, have($hasty, 'hasty-4'));
	my $silent = Cache::Memcached::Fast->new({ servers => [{ address => $servers[0], noreply => 1 }], io_timeout => 20 });
	$silent->set("silent-$_", $_) for 0 .. 499;
	$silent->add('silent-1', 'not added');
	$silent->replace('silent-2', 'replaced');
	$silent->append('silent-2', '!');
	$silent->prepend('silent-2', '!');
	$silent->delete('silent-3');
	$silent->delete('none');
	$silent->incr('silent-4', 10);
	$silent->decr('silent-5', 10);
	$silent->incr('text');
	$silent->touch('silent-6', 1000);
	show('noreply', scalar keys %{ $silent->get_multi(map { "silent-$_" } 0 .. 499) }, $silent->get_multi('silent-1', 'silent-2', 'silent-4', 'silent-5'));
}

$mode eq 'steps' ? steps() : spread();
print "done\n";
