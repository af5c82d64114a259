# Makes a host of this machine: the same files, and what is written to them stays with the host. Arguments: a folder to mount it
# at, its name, and the folder with what it begins with.
set -eu
place=$1 name=$2 skeleton=$3
mount --make-rprivate /
# What is mounted below this machine's root, but for what each host has of its own.
mounts=$(awk '$2 !~ "^/(proc|sys|dev|run|tmp)(/|$)" && $2 != "/" { print $2 }' /proc/self/mounts)
mount -t tmpfs -o size=4g,mode=755 tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$place/root"
for mount in $mounts; do
    # Others' files may be read; whoever cannot even do that has no use for them.
    mount --bind "$mount" "$place/root$mount" 2>/dev/null && mount -o remount,bind,ro "$place/root$mount" 2>/dev/null || true
done
mkdir "$place/tmp"
cp -r "$skeleton/." "$place/tmp"
cd "$place/root"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
# As on a host on which nobody has installed anything yet.
rm -rf var/lib/selvedge etc/selvedge usr/bin/selvedge usr/share/selvedge
for tool in systemctl journalctl; do
    rm -f "usr/bin/$tool"
    install -m 755 "$place/tmp/$tool" "usr/bin/$tool"
done
rm -rf root/selvedge
mkdir -p root
cp -r "$place/tmp/selvedge" root/selvedge
hostname "$name"
ip link set lo up
exec chroot . /usr/bin/env -C /root/selvedge bash --norc --noprofile
