# Run by vmseal-proof.service in a throw-away clone; vmseal reads what it writes from the clone's disk.
folder=/var/lib/vmseal-proof
mkdir -p "$folder"
systemctl is-system-running --wait >"$folder/state"

# A lease may come a moment later than the end of the boot, and only the DHCP client itself knows its identifier.
# Nothing is started while waiting: to ask systemd each time would take an emulated machine longer than the lease takes.
leased() {
    set -- /run/systemd/netif/leases/*
    [ -e "$1" ]
}
if ! leased && systemctl --quiet is-active systemd-networkd.service; then
    tries=0
    while [ $tries -lt 20 ] && ! leased; do
        tries=$((tries + 1))
        sleep 0.5
    done
fi
cat /run/systemd/netif/leases/* >"$folder/leases" 2>/dev/null
if command -v nmcli >/dev/null; then
    nmcli -t -f DHCP4 device show 2>/dev/null | sed -n 's/^.*dhcp_client_identifier = /CLIENTID=/p' >>"$folder/leases"
fi
cat /proc/sys/kernel/hostname >"$folder/hostname"
systemctl --failed --plain --no-legend --no-pager | sed 's/ .*//' >"$folder/failed"
# What fails and is started again, and again, has not "failed" before it was tried five times in ten seconds, for which an
# emulated machine is too slow.
systemctl list-units --type=service --state=activating --plain --no-legend --no-pager | sed 's/ .*//' | while read -r unit; do
    case $(systemctl show --property=Result,NRestarts "$unit") in
        *Result=success*NRestarts=0* | *NRestarts=0*Result=success*) ;;
        *NRestarts=*) echo "$unit" >>"$folder/failed" ;;
    esac
done
if [ -s "$folder/failed" ]; then
    journalctl --boot --no-pager --lines 3000 >"$folder/journal"
fi
: >"$folder/ended"
systemctl --no-block poweroff
