"""The things of the emoji world: each noun is one word and one picture character.

`noun=short_name` names the character by the `short_name` of `emoji.json` (emoji-datasource); a bare noun is its own short name.
One word per noun keeps every noun usable as an initializer token.
"""

ANIMALS = """
monkey gorilla dog=dog2 raccoon cat=cat2 lion=lion_face tiger=tiger2 horse=racehorse unicorn=unicorn_face zebra=zebra_face
deer cow=cow2 pig=pig2 sheep camel llama giraffe=giraffe_face elephant rhino=rhinoceros hippo=hippopotamus mouse=mouse2
hamster rabbit=rabbit2 hedgehog bat bear koala panda=panda_face sloth kangaroo turkey rooster chick=hatched_chick bird
penguin duck swan feather flamingo peacock parrot frog crocodile turtle snake dragon dinosaur=sauropod whale=whale2 dolphin
seal fish=tropical_fish blowfish shark octopus shell crab lobster shrimp squid snail butterfly caterpillar=bug ant bee
ladybug spider scorpion fox=fox_face owl
"""
PLANTS = """
bouquet lotus rose hibiscus sunflower tulip seedling tree=deciduous_tree pine=evergreen_tree palm=palm_tree shamrock
leaf=maple_leaf mushroom cactus
"""
FOOD = """
grapes watermelon tangerine lemon banana pineapple mango apple pear peach cherries kiwi=kiwifruit tomato coconut avocado
eggplant potato carrot corn chili=hot_pepper broccoli garlic onion bread croissant baguette=baguette_bread pretzel pancakes
waffle cheese=cheese_wedge hamburger fries pizza hotdog sandwich taco egg salad=green_salad popcorn sushi dumpling
donut=doughnut cookie cake=birthday cupcake pie chocolate=chocolate_bar candy lollipop honey=honey_pot milk=glass_of_milk
coffee wine=wine_glass cocktail beer strawberry teapot
"""
PLACES = """
house church factory tent mountain=snow_capped_mountain volcano train=steam_locomotive bus ambulance firetruck=fire_engine
taxi car truck tractor motorcycle=racing_motorcycle scooter=motor_scooter bicycle=bike skateboard anchor canoe ship
airplane helicopter rocket ufo=flying_saucer castle=european_castle sailboat=boat
"""
THINGS = """
umbrella balloon gift trophy medal=sports_medal football basketball soccer kite dice=game_die teddy=teddy_bear shirt jeans
dress socks scarf boot sneaker=athletic_shoe hat=tophat ring backpack=school_satchel bell violin trumpet saxophone
piano=musical_keyboard phone=iphone laptop=computer camera tv candle bulb book=closed_book newspaper coin key lock axe wrench
scissors pencil=pencil2 microscope telescope syringe pill chair toilet bathtub broom bucket clock=alarm_clock hourglass
ghost alien skull clown=clown_face pumpkin=jack_o_lantern heart star sun=sun_with_face cloud fire rainbow snowflake
globe=earth_americas guitar drum=drum_with_drumsticks crown hammer robot=robot_face snowman=snowman_without_snow
"""

OTHERS = """
rat ox water_buffalo leopard black_cat ram goat poodle dromedary_camel boar wolf polar_bear pig_nose chipmunk badger mammoth otter
orangutan skunk beaver bison moose donkey monkey_face mouse_face=mouse cow_face=cow tiger_face=tiger rabbit_face=rabbit
cat_face=cat horse_face=horse dog_face=dog pig_face=pig goose eagle dodo dove=dove_of_peace chicken hatching_chick
lizard dragon_face trex=t-rex spouting_whale=whale carp=fish oyster coral jellyfish mosquito fly worm beetle cockroach cricket microbe
spider_web feet wing cherry_blossom blossom rosette white_flower wilted_flower hyacinth ear_of_rice herb four_leaf_clover
fallen_leaf leaves potted_plant empty_nest nest_with_eggs wood rock bricks
melon green_apple blueberries olive chestnut cucumber peanuts leafy_green bell_pepper beans ginger=ginger_root
pea_pod burrito meat=meat_on_bone chicken_leg=poultry_leg stew fried_egg bacon paella=shallow_pan_of_food
flatbread=stuffed_flatbread bowl_with_spoon steak=cut_of_meat canned_food bagel salt falafel butter tamale fondue rice_cracker rice_ball
rice curry ramen spaghetti sweet_potato dango oden fried_shrimp fish_cake bento fortune_cookie takeout_box moon_cake icecream
shaved_ice ice_cream custard shortcake=cake fork_and_knife amphora kitchen_knife=hocho spoon chopsticks jar tea sake
tropical_drink beers baby_bottle champagne clinking_glasses tumbler_glass cup_with_straw beverage_box mate_drink ice_cube bubble_tea
ribbon christmas_tree fireworks sparkler confetti_ball dolls wind_chime ticket red_envelope firecracker black_joker video_game dart
slot_machine billiard_ball=8ball crystal_ball joystick jigsaw yo-yo magic_wand pinata nesting_dolls mirror_ball chess_pawn bowling
tennis rugby_ball=rugby_football volleyball sled ski curling_stone boxing_glove golf ice_skate baseball diving_mask fishing_pole=fishing_pole_and_fish
flying_disc badminton=badminton_racquet_and_shuttlecock ping_pong=table_tennis_paddle_and_ball martial_arts_uniform
running_shirt=running_shirt_with_sash palette=art masks=performing_arts framed_picture=frame_with_picture thread yarn
office hospital bank hotel school department_store tokyo_tower statue_of_liberty hut wedding_chapel=wedding mosque synagogue
shinto_shrine stadium classical_building fountain ferris_wheel carousel_horse circus_tent barber_pole=barber playground_slide world_map
compass racing_car railway_car bullet_train=bullettrain_front metro tram trolleybus minibus police_car blue_car lorry=articulated_lorry
monorail traffic_light construction rotating_light stop_sign=octagonal_sign wheel oil_drum busstop rickshaw=auto_rickshaw pickup_truck
roller_skate wheelchair=manual_wheelchair fuel_pump=fuelpump seat aerial_tramway small_airplane satellite parachute speedboat
motor_boat ferry ring_buoy passenger_ship moon=crescent_moon full_moon_face=full_moon_with_face ringed_planet comet tornado lightning=zap droplet
cyclone ocean_wave=ocean closed_umbrella thermometer glowing_star=star2 rain_cloud
door shower couch=couch_and_lamp bed shopping_trolley elevator fire_extinguisher lotion_bottle safety_pin basket toilet_paper=roll_of_paper soap
sponge razor mirror window plunger mouse_trap toothbrush bellhop_bell luggage stethoscope drop_of_blood plaster=adhesive_bandage
eyeglasses necktie kimono bikini womans_clothes purse handbag pouch mans_shoe high_heel sandal lipstick gem prayer_beads sunglasses=dark_sunglasses
shopping_bags sari lab_coat goggles hiking_boot safety_vest cap=billed_cap gloves coat ballet_shoes shorts helmet=military_helmet
fan=folding_hand_fan hair_pick graduation_cap=mortar_board womans_hat studio_microphone control_knobs microphone headphones
musical_note radio maracas flute accordion loudspeaker megaphone=mega postal_horn no_bell film_frames movie_camera clapper
red_lantern=izakaya_lantern video_camera videocassette=vhs film_projector magnifying_glass=mag flashlight oil_lamp=diya_lamp scroll books
green_book blue_book notebook ledger label bookmark bow_and_arrow bomb link nut_and_bolt dagger=dagger_knife shield toolbox
magnet boomerang saw=carpentry_saw screwdriver ladder hook crossed_swords scales gear pick chains test_tube petri_dish dna
alembic satellite_antenna floppy_disk cd battery electric_plug desktop_computer printer trackball abacus keyboard telephone_receiver
pager fax briefcase file_folder calendar=date clipboard pushpin paperclip ruler=straight_ruler set_square=triangular_ruler
file_cabinet wastebasket ballpoint_pen=lower_left_ballpoint_pen fountain_pen=lower_left_fountain_pen paintbrush=lower_left_paintbrush
crayon=lower_left_crayon package mailbox postbox ballot_box=ballot_box_with_ballot envelope=email old_key unlock moneybag credit_card
dollar_bill=dollar watch stopwatch timer_clock mantelpiece_clock moyai nazar_amulet headstone coffin urn=funeral_urn
santa angel superhero troll mage fairy vampire mermaid elf genie zombie baby police_officer=cop construction_worker detective=sleuth_or_spy
ninja farmer cook student artist mechanic scientist astronaut firefighter judge pilot guardsman old_man=older_man old_woman=older_woman
boy girl surfer skier dancer bone tooth brain eye ear nose lips foot lungs anatomical_heart
ogre=japanese_ogre goblin=japanese_goblin space_invader poop=hankey devil=imp angry_devil=smiling_imp grinning_face=grinning
sunglasses_face=sunglasses nerd_face cowboy=face_with_cowboy_hat cold_face hot_face nauseated_face thinking_face sleeping_face=sleeping
heart_eyes crying_face=sob angry_face=rage party_face=partying_face mask_face=mask money_face=money_mouth_face broken_heart
heart_on_fire gift_heart love_letter speech_balloon hole raised_fist=fist thumbs_up=+1 waving_hand=wave horns=the_horns
"""
"""Further things, shown and named in a share of the pictures so that the models know more shapes than the nouns; no accuracy is promised for
them. A word for a new thing can only combine what the model knows of others."""

HELD_OUT = ("castle", "cactus", "crown", "drum", "fox", "guitar", "hammer", "owl", "robot", "sailboat", "snowman", "strawberry", "teapot")
"""Nouns that the generator is never trained on; the scorer is, since it has to judge them."""


def parse(table: str) -> dict[str, str]:
    """Return noun -> emoji short name."""
    pairs = (entry.partition("=") for entry in table.split())
    return {noun: short_name or noun for noun, _, short_name in pairs}


NOUN_NAMES: dict[str, str] = {
    noun: short_name for table in (ANIMALS, PLANTS, FOOD, PLACES, THINGS) for noun, short_name in sorted(parse(table).items())
}
ALL_NOUNS: tuple[str, ...] = tuple(NOUN_NAMES)
TRAINED_NOUNS: tuple[str, ...] = tuple(noun for noun in ALL_NOUNS if noun not in HELD_OUT)
SHORT_NAMES: dict[str, str] = NOUN_NAMES | {name.replace("_", " "): short_name for name, short_name in parse(OTHERS).items()}
ALL_THINGS: tuple[str, ...] = tuple(SHORT_NAMES)
"""The nouns, then the others; sprites are numbered in this order."""
OTHER_THINGS = range(len(ALL_NOUNS), len(ALL_THINGS))
